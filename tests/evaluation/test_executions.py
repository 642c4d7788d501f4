"""The executions of one segmenter on the same photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import (
    ATM_RECIPE,
    CTS_RECIPE,
    RANDOM_RECIPE,
    TOME_RECIPE,
    exact_thresholds,
    photo_of,
    written_recipe,
)
from shared_cases import TINY_RECIPE
from torch import nn

from edgeexport.bundle import open_bundle
from edgeexport.evaluation.executions import FixedExecution, OnnxRuntimeExecution, PublishedExecution
from edgeexport.evaluation.image_macs import published_cost
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe

PHOTOS = [photo_of(seed, (150 + 20 * seed, 100)) for seed in range(4)]


def loaded(folder: Path, text: str, *options: str) -> tuple[nn.Module, Recipe]:
    recipe = load_recipe(written_recipe(folder, text), options)
    return model_from_recipe(recipe)[0], recipe


@pytest.mark.parametrize("text", [TINY_RECIPE, CTS_RECIPE])
def test_published_is_fixed_where_thresholds_prune_exactly_k(text: str, tmp_path: Path) -> None:
    model, recipe = loaded(tmp_path, text)
    for photo in PHOTOS:
        published = PublishedExecution(model, recipe, exact_thresholds(model, recipe, photo)).run([photo])[0]
        fixed = FixedExecution(model, recipe).run([photo])[0]
        assert published.cost.tokens == fixed.cost.tokens
        assert published.cost.macs == fixed.cost.macs
        assert (published.class_map == fixed.class_map).mean() > 0.999  # near ties of the two tails


def test_published_counts_are_the_images_own(tmp_path: Path) -> None:
    model, recipe = loaded(tmp_path, TINY_RECIPE)
    theta = exact_thresholds(model, recipe, PHOTOS[0])[2]
    found = PublishedExecution(model, recipe, {2: theta, 3: 1.0}).run(PHOTOS)
    assert found[0].cost.tokens == (64, 64, 48, 48)
    assert len({result.cost.tokens for result in found}) > 1
    for result in found:
        assert result.cost.macs == published_cost(recipe, {2: 64 - result.cost.tokens[2], 3: 0}).macs


@pytest.mark.parametrize("text", [ATM_RECIPE, TOME_RECIPE, RANDOM_RECIPE])
def test_without_thresholds_published_is_fixed(text: str, tmp_path: Path) -> None:
    model, recipe = loaded(tmp_path, text)
    for photo in PHOTOS:
        published, fixed = (
            PublishedExecution(model, recipe, {}).run([photo])[0],
            FixedExecution(model, recipe).run([photo])[0],
        )
        assert (published.cost.tokens, published.cost.macs) == (fixed.cost.tokens, fixed.cost.macs)
        assert published.class_map.shape == fixed.class_map.shape == (recipe.input.height, recipe.input.width)
        assert (published.class_map == fixed.class_map).mean() > 0.999


def test_onnx_runtime_is_fixed(tiny_bundle: Path, tmp_path: Path) -> None:
    model, recipe = loaded(tmp_path, TINY_RECIPE)
    execution = OnnxRuntimeExecution(open_bundle(tiny_bundle))
    for photo in PHOTOS:
        found, fixed = execution.run([photo])[0], FixedExecution(model, recipe).run([photo])[0]
        assert (found.cost.tokens, found.cost.macs) == (fixed.cost.tokens, fixed.cost.macs)
        assert found.class_map.shape == (128, 128)
        assert (found.class_map == fixed.class_map).mean() > 0.999


def test_batches_give_what_single_images_give(tmp_path: Path) -> None:
    model, recipe = loaded(tmp_path, TINY_RECIPE, "input.shape=(3, 3, 128, 128)")
    execution = FixedExecution(model, recipe)
    assert execution.batch == 3
    together = execution.run(PHOTOS[:3])
    for photo, result in zip(PHOTOS, together, strict=False):
        np.testing.assert_array_equal(result.class_map, execution.run([photo])[0].class_map)
