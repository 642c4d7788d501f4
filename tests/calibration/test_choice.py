"""How counts are chosen, on costs and qualities that are formulas, against brute force over every set of counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observation_cases import image_of, stage_of, tiny

from edgeexport.calibration.choice_by_coverage import choice_by_coverage
from edgeexport.calibration.choice_by_search import choice_by_search
from edgeexport.calibration.counts import Counts
from edgeexport.calibration.request import Request
from edgeexport.calibration.search import Measurements
from edgeexport.calibration.space import CountSpace
from edgeexport.calibration.stage_observation import ImageObservation
from edgeexport.calibration.task import CalibrationTask
from edgeexport.errors import UsageError
from edgeexport.recipe.schema import Recipe

PATCHES = 64
STAGES = tuple(range(0, 64, 8))
SPACE = CountSpace(PATCHES, 8, (0, 8, 16), ((2, STAGES), (3, STAGES)))


class Sum:
    """A cost that is linear in the counts, with a price for every head and for the policy network."""

    unit = "MACs"

    def __init__(self, head: float = 5.0, policy: float = 5.0) -> None:
        self.head, self.policy = head, policy

    def of(self, counts: Counts) -> float:
        saved = 6 * counts.num_shared + sum((5 - block) * k for block, k in counts.prune)
        return 300 - saved + self.head * len(counts.prune) + self.policy * (counts.num_shared > 0)

    def cost(self, recipe: Recipe) -> float:
        raise AssertionError("the tests ask for costs of counts")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny(tmp_path_factory.mktemp("recipe"))


def task_of(
    recipe: Recipe, method: str, value: float, space: CountSpace = SPACE, cost: Sum | None = None
) -> CalibrationTask:
    return CalibrationTask(recipe, Request(method, value), cost or Sum(), space, {2: 0.9, 3: 0.9})


def seen(after2: Sequence[int], after3: Sequence[int], windows: Sequence[int]) -> Callable[..., list[ImageObservation]]:
    """Images that would lose so many tokens by threshold, whatever came before."""

    def observe(counts: Counts, blocks: tuple[int, ...]) -> list[ImageObservation]:
        images = []
        for number, shareable in enumerate(windows):
            stages = []
            for block in blocks:
                earlier = sum(k for before, k in counts.prune if before < block)
                tokens = PATCHES - 3 * counts.num_shared - earlier
                sure = min({2: after2, 3: after3}[block][number], tokens)
                stages.append(stage_of([0.95] * sure + [0.5] * (tokens - sure), block=block))
            images.append(image_of(f"image{number}", *stages, shareable=shareable))
        return images

    return observe


def measured_by(cost: Sum, quality: Callable[[Counts], float] = lambda counts: 50.0) -> Measurements:
    return Measurements(cost.of, quality)


def test_coverage_takes_the_order_statistic_and_aligns_it_down(recipe: Recipe) -> None:
    task = task_of(recipe, "coverage", 0.75)
    found = choice_by_coverage(task, seen([30, 20, 25, 10], [9, 12, 9, 2], [9, 9, 9, 0]), measured_by(Sum()))
    assert found.counts == Counts(8, ((2, 16), (3, 8))), (
        "9 windows allow 8; 20 of 40 tokens leave 24, and 9 of these 16"
    )
    assert found.exact == Counts(9, ((2, 20), (3, 9)))
    assert found.reason == ""


def test_what_costs_more_than_it_saves_is_left_out_and_said(recipe: Recipe) -> None:
    observe = seen([30, 20, 25, 10], [9, 12, 9, 2], [9, 9, 9, 0])
    cost = Sum(head=20.0, policy=100.0)
    found = choice_by_coverage(task_of(recipe, "coverage", 0.75), observe, measured_by(cost))
    assert found.counts == Counts(0, ((2, 16),))
    assert found.exact == Counts(0, ((2, 20),)), "the counts without alignment leave out the same"
    said = " ".join(found.notes)
    assert "Sharing 8 windows is left out" in said
    assert "Pruning 8 tokens after block 3 is left out" in said


def test_the_dense_model_wins_where_nothing_pays_or_nothing_is_allowed(recipe: Recipe) -> None:
    observe = seen([30, 20, 25, 10], [9, 12, 9, 2], [9, 9, 9, 0])
    found = choice_by_coverage(task_of(recipe, "coverage", 0.75), observe, measured_by(Sum(300.0, 300.0)))
    assert "cost more than is saved" in found.reason
    assert found.counts == Counts(8, ((2, 16), (3, 8))), "what lost is shown"
    never = choice_by_coverage(task_of(recipe, "coverage", 0.75), seen([5] * 4, [5] * 4, [2] * 4), measured_by(Sum()))
    assert never.counts == Counts()
    assert "no counts but 0 that suit 75 % of the images" in never.reason


weights = st.tuples(*[st.floats(0.0, 3.0)] * 3)


@settings(max_examples=60, deadline=None)
@given(weights, st.floats(0.0, 60.0), st.sampled_from([0.0, 20.0, 80.0]))
def test_cheapest_within_a_drop_is_that_of_brute_force(
    recipe: Recipe, slopes: tuple[float, float, float], drop: float, head: float
) -> None:
    def quality(counts: Counts) -> float:
        lost = zip(slopes, (counts.num_shared, counts.pruned_after(2), counts.pruned_after(3)), strict=True)
        return 90.0 - sum(slope * count for slope, count in lost)

    cost = Sum(head=head)
    measured = measured_by(cost, quality)
    found = choice_by_search(task_of(recipe, "max-miou-drop", drop, cost=cost), measured)
    good = [counts for counts in SPACE.candidates if quality(counts) >= quality(Counts()) - drop]
    assert cost.of(found.counts) == min(map(cost.of, good))
    assert quality(found.counts) >= quality(Counts()) - drop
    assert (found.reason != "") == (found.counts == Counts())
    if found.counts != Counts():
        assert found.exact == furthest(found.counts, lambda counts: quality(counts) >= quality(Counts()) - drop)


@settings(max_examples=60, deadline=None)
@given(weights, st.floats(140.0, 320.0))
def test_best_within_a_budget_is_that_of_brute_force(
    recipe: Recipe, slopes: tuple[float, float, float], budget: float
) -> None:
    def quality(counts: Counts) -> float:
        lost = zip(slopes, (counts.num_shared, counts.pruned_after(2), counts.pruned_after(3)), strict=True)
        return 90.0 - sum(slope * count for slope, count in lost)

    cost = Sum()
    measured = measured_by(cost, quality)
    found = choice_by_search(task_of(recipe, "macs", budget), measured)
    within = [counts for counts in SPACE.candidates if cost.of(counts) <= budget]
    assert quality(found.counts) == max(map(quality, within))
    assert cost.of(found.counts) <= budget
    if found.exact is not None:
        assert cost.of(found.exact) <= budget
        assert quality(found.exact) >= quality(found.counts)
    if budget >= cost.of(Counts()):
        assert "within the budget" in found.reason or found.counts != Counts()


def furthest(counts: Counts, good: Callable[[Counts], bool]) -> Counts:
    """The last count raised one by one, as long as it is good, by less than 8."""
    best = counts
    for change in range(1, 8):
        if counts.prune:
            block, k = counts.prune[-1]
            moved = Counts.of(counts.num_shared, {**dict(counts.prune), block: k + change})
        else:
            moved = Counts(counts.num_shared + change)
        if moved.num_shared > 16 or moved.tokens(PATCHES)[-1] < 1 or not good(moved):
            break
        best = moved
    return best


def test_a_search_on_a_coarse_space_is_made_finer(recipe: Recipe) -> None:
    coarse = CountSpace(PATCHES, 8, (0,), ((2, (0, 24, 56)),))
    measured = measured_by(Sum(), lambda counts: 90.0 - counts.pruned_after(2))
    found = choice_by_search(task_of(recipe, "max-miou-drop", 41.0, coarse), measured)
    assert found.counts == Counts(0, ((2, 40),)), "not among the coarse candidates"
    assert found.exact == Counts(0, ((2, 41),))


def test_what_a_latency_table_does_not_reach_is_left_out_and_said(recipe: Recipe) -> None:
    def cost(counts: Counts) -> float:
        if counts.tokens(PATCHES)[-1] < 24:
            raise UsageError("table.json: block_ms", "has 24 to 64 tokens, 16 are asked for", "")
        return 100.0 - counts.pruned_after(2)

    space = CountSpace(PATCHES, 8, (0,), ((2, STAGES),))
    found = choice_by_search(task_of(recipe, "latency-ms", 60.0, space), Measurements(cost, lambda counts: 90.0))
    assert found.counts == Counts(0, ((2, 40),))
    assert (
        "2 of 8 candidates have no cost and were left out: table.json: block_ms has 24 to 64 tokens" in found.notes[0]
    )


def test_a_budget_that_nothing_fits_says_what_would(recipe: Recipe) -> None:
    def never(counts: Counts) -> float:
        raise AssertionError("nothing is measured for an impossible budget")

    with pytest.raises(UsageError, match=r"--macs 1 \| the cheapest of .* the dense model 0.000 GMAC"):
        choice_by_search(task_of(recipe, "macs", 1.0), measured_by(Sum(), never))


def test_a_reduction_within_the_drop_that_costs_more_is_not_taken(recipe: Recipe) -> None:
    cost = Sum(head=400.0, policy=400.0)
    found = choice_by_search(task_of(recipe, "max-miou-drop", 50.0, cost=cost), measured_by(cost))
    assert found.counts == Counts()
    assert "sets of counts costs less" in found.reason
    steep = measured_by(
        Sum(), lambda counts: 90.0 - counts.num_shared - counts.pruned_after(2) - counts.pruned_after(3)
    )
    found = choice_by_search(task_of(recipe, "max-miou-drop", 5.0), steep)
    assert found.counts == Counts()
    assert "none within 5 points is cheaper" in found.reason


def test_quality_is_measured_once_for_each_counts(recipe: Recipe, tmp_path: Path) -> None:
    asked: list[Counts] = []

    def quality(counts: Counts) -> float:
        asked.append(counts)
        return 90.0 - counts.pruned_after(2) - counts.pruned_after(3)

    choice_by_search(task_of(recipe, "max-miou-drop", 30.0), measured_by(Sum(), quality))
    assert len(asked) == len(set(asked))
    assert len(asked) < len(SPACE.candidates) / 3
