"""Counts: what a recipe realises, and the recipe that realises them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observation_cases import CTS_DTOP, tiny

from edgeexport.calibration.counts import Counts, counts_from_recipe, protected_per_class, recipe_with_counts
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts import CtsSpec
from edgeexport.reductions.dtop import DtopSpec

BARE = "reduction={}"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny(tmp_path_factory.mktemp("counts"), CTS_DTOP)


def test_realised_counts_of_a_recipe(tmp_path: Path) -> None:
    cts = "'cts': {'num_shared': 5, 'align_tokens': 8}"
    aligned = tiny(tmp_path, f"reduction={{{cts}, 'dtop': {{'prune': {{3: 9, 2: 0}}}}}}")
    assert counts_from_recipe(aligned) == Counts(8, ((3, 9),)), "64 - 3 x 8 = 40 is the next multiple of 8"
    assert counts_from_recipe(tiny(tmp_path, BARE)) == Counts()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 16), st.integers(0, 7), st.integers(0, 7))
def test_recipe_realises_exactly_the_counts(recipe: Recipe, shared: int, first: int, second: int) -> None:
    counts = Counts.of(shared, {3: second, 2: first})
    changed = recipe_with_counts(recipe, counts)
    assert counts_from_recipe(changed) == counts
    schedule = token_schedule(changed)
    left = [schedule.tokens_in, *(schedule.blocks[block - 1].tokens_out for block, _ in counts.prune)]
    assert counts.tokens(64) == tuple(left)
    methods = {"cts": shared > 0, "dtop": first + second > 0}
    assert list(changed.reductions) == [key for key, used in methods.items() if used]


def test_what_is_not_a_count_is_kept(recipe: Recipe) -> None:
    policy = Path("/weights/policy.pth")
    own = {
        "cts": replace(recipe.reductions["cts"], policy_checkpoint=policy),
        "dtop": replace(recipe.reductions["dtop"], protect_per_class=2),
    }
    changed = recipe_with_counts(replace(recipe, reductions=own), Counts(8, ((3, 8),)))
    assert changed.reductions == {"cts": CtsSpec(8, 1, policy), "dtop": DtopSpec(((3, 8),), 2)}


def test_a_recipe_without_dtop_protects_as_recipes_do_by_default(recipe: Recipe, tmp_path: Path) -> None:
    bare = tiny(tmp_path, BARE)
    added = recipe_with_counts(bare, Counts(0, ((2, 4),)))
    # The other recipe leaves protect_per_class out: what a recipe file's default is, is said in one place only.
    assert added.reductions["dtop"].protect_per_class == recipe.reductions["dtop"].protect_per_class == 5
    assert protected_per_class(bare) == 5


def test_outputs_of_a_stage_that_is_gone_go_with_it(tmp_path: Path) -> None:
    names = ("uncertified_pixels", "shared_windows", "pruned_tokens_2", "protected_pruned_3")
    recipe = replace(tiny(tmp_path, CTS_DTOP), extra_outputs=names)
    assert recipe_with_counts(recipe, Counts(1, ((2, 3), (3, 1)))).extra_outputs == names
    assert recipe_with_counts(recipe, Counts(0, ((3, 1),))).extra_outputs == (names[0], names[3])
    assert recipe_with_counts(recipe, Counts()).extra_outputs == names[:1]


def test_counts_are_in_one_form_only() -> None:
    assert Counts.of(3, {8: 0, 6: 4, 2: 1}) == Counts(3, ((2, 1), (6, 4)))
    assert Counts(3, ((2, 1), (6, 4))).pruned_after(6) == 4
    assert Counts(3, ((2, 1), (6, 4))).pruned_after(8) == 0
    for prune in (((6, 4), (2, 1)), ((2, 0),), ((2, -1),), ((2, 1), (2, 1))):
        with pytest.raises(ValueError, match=r"Counts\.of"):
            Counts(0, prune)
    with pytest.raises(ValueError, match="negative"):
        Counts(-1)


@given(st.integers(0, 99), st.dictionaries(st.integers(1, 24), st.integers(0, 999), max_size=4))
def test_stored_counts_come_back(shared: int, prune: dict[int, int]) -> None:
    counts = Counts.of(shared, prune)
    assert Counts.from_dict(json.loads(json.dumps(counts.as_dict()))) == counts
