"""Candidate counts: every token count aligned, nothing and almost everything in reach, the recipe's own methods alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observation_cases import CTS_DTOP, tiny

from edgeexport.calibration.counts import Counts, counts_from_recipe, recipe_with_counts
from edgeexport.calibration.space import CountSpace, space_from_recipe
from edgeexport.errors import UsageError
from edgeexport.fixed.schedule import token_schedule
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts_counts import aligned_window_counts
from edgeexport.reductions.merge_spec import MergeSpec

METHODS = {
    "both": (CTS_DTOP, (2, 3), True),
    "both, no counts yet": ("reduction={'cts': {'num_shared': 0}, 'dtop': {'prune': {2: 0, 3: 0}}}", (2, 3), True),
    "one stage": ("reduction={'dtop': {'prune': {3: 8}}}", (3,), False),
    "sharing alone": ("reduction={'cts': {'num_shared': 5}}", (), True),
    "dense": ("reduction={}", (2, 3), False),
}


@pytest.mark.parametrize("method", METHODS)
def test_axes_are_the_recipes_methods(method: str, tmp_path: Path) -> None:
    option, blocks, shares = METHODS[method]
    space = space_from_recipe(tiny(tmp_path, option))
    assert tuple(block for block, _ in space.stages) == blocks
    assert all(values == (0, 8, 16, 24, 32, 40, 48, 56) for _, values in space.stages)
    assert space.shared == ((0, 8, 16) if shares else (0,))


_SWEPT = CountSpace(64, 8, (0, 8, 16), ((2, tuple(range(0, 64, 8))), (3, tuple(range(0, 64, 8)))))


def sized(recipe: Recipe, rows: int, columns: int) -> Recipe:
    return replace(recipe, input=replace(recipe.input, height=16 * rows, width=16 * columns))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """CTS and DToP after blocks 2 and 3."""
    return tiny(tmp_path_factory.mktemp("space"), CTS_DTOP)


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 4, 8, 16]), st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_every_candidate_is_aligned_and_fits_the_model(
    both: Recipe, rows: int, columns: int, align: int, values: int
) -> None:
    recipe = sized(both, rows, columns)
    patches = rows * columns
    space = space_from_recipe(recipe, align, values)
    candidates = space.candidates
    assert candidates[0] == Counts() and len(set(candidates)) == len(candidates)
    assert len(space.shared) <= values and all(len(axis) <= values for _, axis in space.stages)
    for counts in candidates:
        left = counts.tokens(patches)
        assert left[-1] > 0
        if counts.num_shared:
            assert left[0] % align == 0
        assert all(tokens % align == 0 for tokens in left[1:])
        realised = recipe_with_counts(recipe, counts)
        assert (counts_from_recipe(realised), token_schedule(realised).tokens_out) == (counts, left[-1])


def test_values_are_spread_from_nothing_to_the_most_that_leaves_a_multiple(both: Recipe) -> None:
    space = space_from_recipe(replace(both, input=InputSpec(1, 256, 256, None)))
    assert space.shared == tuple(range(0, 65, 8))
    assert space.stages[0] == (2, (0, 32, 64, 96, 128, 152, 184, 216, 248))
    assert len(space.candidates) == 180


def test_a_token_count_that_is_no_multiple_is_mended_by_the_first_reduction(tmp_path: Path) -> None:
    recipe = sized(tiny(tmp_path, "reduction={'dtop': {'prune': {2: 1, 3: 1}}}"), 5, 5)
    found = set(space_from_recipe(recipe).candidates)
    # 25 = 3 * 8 + 1
    expected = {(), ((2, 9),), ((2, 17),), ((3, 9),), ((3, 17),), ((2, 9), (3, 8))}
    assert found == {Counts(0, prune) for prune in expected}


def test_many_stages_have_fewer_values_each(tmp_path: Path) -> None:
    recipe = tiny(tmp_path, "reduction={}")
    heads = [replace(recipe.model.auxiliary_heads[0], stages=(block,)) for block in range(1, 7)]
    model = replace(
        recipe.model, auxiliary_heads=tuple(heads), decode_head=replace(recipe.model.decode_head, stages=(7,))
    )
    space = space_from_recipe(replace(recipe, model=model))
    assert [len(values) for _, values in space.stages] == [4] * 6


@given(st.integers(9, 200), st.sampled_from([3, 8]), st.booleans(), st.data())
@settings(deadline=None)
def test_refined_space_holds_what_it_refines(patches: int, align: int, shares: bool, data: st.DataObject) -> None:
    windows = (0, *list(aligned_window_counts(patches, patches // 4, align))[::5]) if shares else (0,)
    stages = tuple((block, tuple(range(0, patches, 6 * align))) for block in (2, 5))
    space = CountSpace(patches, align, windows, stages)
    around = data.draw(st.sampled_from(space.candidates))
    fine = space.refined(around)
    candidates = set(fine.candidates)
    assert {around, Counts()} <= candidates
    for counts in candidates:
        left = counts.tokens(patches)
        assert left[-1] > 0 and all(tokens % align == 0 for tokens in left[1:])
        if counts.num_shared:
            assert left[0] % align == 0
    assert {around, Counts()} <= set(fine.refined(around).candidates)


def test_refined_values_are_all_that_lie_between_the_neighbours_where_they_are_few(both: Recipe) -> None:
    space = space_from_recipe(replace(both, input=InputSpec(1, 256, 256, None)))
    fine = space.refined(Counts(16, ((2, 64),)))
    assert fine.shared == (0, 16)
    assert fine.stages == ((2, (0, 40, 48, 56, 64, 72, 80, 88)), (3, (0, 8, 16, 24)))


def test_refined_values_are_spread_where_they_are_many() -> None:
    space = CountSpace(1024, 8, (0,), ((3, tuple(range(0, 1024, 128))),))
    (_, values), *_ = space.refined(Counts(0, ((3, 384),))).stages
    assert len(values) <= 8
    assert values[0] == 0 and 384 in values and values[1] > 256 and values[-1] < 512


def test_neighbours_change_one_count_at_a_time() -> None:
    around = _SWEPT.neighbours(Counts(8, ((2, 16), (3, 8))))
    assert set(around) == {
        *(Counts.of(shared, {2: 16, 3: 8}) for shared in (0,)),
        *(Counts.of(8, {2: k, 3: 8}) for k in (0, 8, 24)),
        *(Counts.of(8, {2: 16, 3: k}) for k in (0,)),
    }, "half of 8 and one and a half times 8 are 8 in steps of 8"
    assert _SWEPT.neighbours(Counts()) == ()
    assert Counts(0, ((2, 72),)) not in _SWEPT.neighbours(Counts(0, ((2, 48),))), "leaves no token"


@given(st.integers(0, 16), st.integers(0, 40), st.integers(0, 20))
def test_neighbours_keep_what_is_aligned(shared: int, first: int, second: int) -> None:
    counts = Counts.of(8 * (shared // 8), {2: 8 * (first // 8), 3: 8 * (second // 8)})
    if counts.tokens(64)[-1] < 1:
        return
    for changed in _SWEPT.neighbours(counts):
        assert all(tokens % 8 == 0 and tokens > 0 for tokens in changed.tokens(64))
        before = (counts.num_shared, counts.pruned_after(2), counts.pruned_after(3))
        after = (changed.num_shared, changed.pruned_after(2), changed.pruned_after(3))
        assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def test_models_without_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shares and prunes no tokens"):
        space_from_recipe(load_recipe("tome_deit_ti.py"))
    with pytest.raises(UsageError, match="no counts to choose"):
        space_from_recipe(load_recipe("segvit_atm.py"))
    merging = replace(tiny(tmp_path, "reduction={}"), reductions={"tome": MergeSpec("tome", (4,), dense="tome")})
    with pytest.raises(UsageError, match="no counts to choose"):
        space_from_recipe(merging)
