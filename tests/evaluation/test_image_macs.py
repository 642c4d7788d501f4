"""Tokens and work of one image, from its own counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_cases import ATM_RECIPE, CTS_RECIPE, RANDOM_RECIPE, TOME_RECIPE, written_recipe
from shared_cases import TINY_RECIPE

from edgeexport.evaluation.image_macs import cost_from_tokens_json, fixed_cost, published_cost
from edgeexport.fixed.tokens import account, tokens_json
from edgeexport.hosts.segvit.macs import prune_head_macs
from edgeexport.recipe import load_recipe
from edgeexport.reductions.dtop import DtopSpec


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (TINY_RECIPE, (64, 64, 48, 40)),
        (CTS_RECIPE, (52, 52, 36, 28)),
        (TOME_RECIPE, (52, 52, 52, 52)),
        (RANDOM_RECIPE, (64, 64, 48, 40)),
        (ATM_RECIPE, (16, 16, 16)),
    ],
)
def test_constant_counts(text: str, tokens: tuple[int, ...], tmp_path: Path) -> None:
    recipe = load_recipe(written_recipe(tmp_path, text))
    cost = fixed_cost(recipe)
    assert cost.tokens == tokens
    assert cost.macs == account(recipe).reduced.total
    assert cost_from_tokens_json(tokens_json(recipe)) == cost


def test_an_images_own_counts(tmp_path: Path) -> None:
    recipe = load_recipe(written_recipe(tmp_path, TINY_RECIPE))
    assert published_cost(recipe, {2: 16, 3: 8}) == fixed_cost(recipe)
    cost = published_cost(recipe, {2: 5, 3: 30})
    assert cost.tokens == (64, 64, 59, 29)
    assert cost == fixed_cost(replace(recipe, reductions={"dtop": DtopSpec(((2, 5), (3, 30)), 5)}))


def test_a_stage_that_prunes_nothing_still_ran_its_head(tmp_path: Path) -> None:
    recipe = load_recipe(written_recipe(tmp_path, TINY_RECIPE))
    dense = fixed_cost(replace(recipe, reductions={}))
    head = prune_head_macs(64, 32, 32, 2, 6)
    assert published_cost(recipe, {2: 0, 3: 0}).macs == dense.macs + 2 * head
    only_late = replace(recipe, reductions={"dtop": DtopSpec(((3, 8),), 5)})
    assert published_cost(recipe, {2: 0, 3: 8}).macs == fixed_cost(only_late).macs + head


def test_every_token_may_leave(tmp_path: Path) -> None:
    recipe = load_recipe(written_recipe(tmp_path, TINY_RECIPE))
    assert published_cost(recipe, {2: 64, 3: 0}).tokens == (64, 64, 1, 1)
