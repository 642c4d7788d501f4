"""Searches over counts against brute force: exact where qualities fall with counts, safe where they are noisy."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.search import (
    Evaluated,
    Measurements,
    SearchResult,
    best_within_budget,
    cheapest_within,
    pareto_front,
)
from edgeexport.calibration.space import CountSpace


@dataclass(frozen=True)
class Case:
    """Candidates with a cost and a quality of each."""

    candidates: tuple[Counts, ...]
    costs: dict[Counts, float]
    qualities: dict[Counts, float]

    @property
    def measurements(self) -> Measurements:
        return Measurements(self.costs.__getitem__, self.qualities.__getitem__)

    @property
    def rows(self) -> list[tuple[float, float]]:
        return [(self.costs[counts], self.qualities[counts]) for counts in self.candidates]


def at_most(first: Counts, second: Counts) -> bool:
    """Whether no count of ``first`` exceeds that of ``second``."""
    blocks = {block for counts in (first, second) for block, _ in counts.prune}
    return first.num_shared <= second.num_shared and all(
        first.pruned_after(block) <= second.pruned_after(block) for block in blocks
    )


@st.composite
def cases(draw: st.DrawFn, noise: float = 0.0) -> Case:
    """Random spaces of one to three axes, some with holes; costs in no order; qualities that fall with the counts."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes = [sorted(random.choice(range(1, 40), size=size, replace=False).tolist()) for size in sizes]
    combinations = list(itertools.product(*([0, *axis] for axis in axes)))
    filled = draw(st.sampled_from([0.6, 1.0]))
    kept = [values for values in combinations if random.random() < filled] or combinations
    counts = tuple(
        Counts.of(values[0], {2 + place: k for place, k in enumerate(values[1:])})
        for values in random.permutation(np.array(kept)).tolist()
    )
    levels = draw(st.sampled_from([3, 1000]))  # few levels: many ties
    drawn = {item: float(random.integers(0, levels)) for item in counts}
    qualities = {item: min(drawn[other] for other in counts if at_most(other, item)) for item in counts}
    noisy = {item: value + noise * levels * random.random() for item, value in qualities.items()}
    costs = {item: float(random.integers(0, levels)) for item in counts}
    return Case(counts, costs, noisy)


@given(cases(), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_cheapest_is_the_optimum_where_quality_falls_with_counts(case: Case, level: float) -> None:
    ranked = sorted(quality for _, quality in case.rows)
    minimum = ranked[int(level * (len(ranked) - 1))]
    result = cheapest_within(case.candidates, case.measurements, minimum)
    assert result.best is not None
    assert case.qualities[result.best] >= minimum
    assert case.costs[result.best] == min(cost for cost, quality in case.rows if quality >= minimum)


@given(cases(), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_best_is_the_optimum_where_quality_falls_with_counts(case: Case, level: float) -> None:
    ranked = sorted(cost for cost, _ in case.rows)
    budget = ranked[int(level * (len(ranked) - 1))]
    result = best_within_budget(case.candidates, case.measurements, budget)
    assert result.best is not None
    assert case.costs[result.best] <= budget
    assert case.qualities[result.best] == max(quality for cost, quality in case.rows if cost <= budget)


@given(cases(noise=0.3), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_noisy_qualities_still_meet_the_limit(case: Case, level: float) -> None:
    rows = case.rows
    minimum = sorted(quality for _, quality in rows)[int(level * (len(rows) - 1))]
    result = cheapest_within(case.candidates, case.measurements, minimum)
    good = [item for item in result.evaluated if item.quality >= minimum]
    if good:
        assert result.best is not None
        assert case.qualities[result.best] >= minimum
        assert case.costs[result.best] == min(item.cost for item in good)
    else:
        assert result.best is None
    budget = sorted(cost for cost, _ in rows)[int(level * (len(rows) - 1))]
    result = best_within_budget(case.candidates, case.measurements, budget)
    assert result.best is not None
    assert case.costs[result.best] <= budget
    assert case.qualities[result.best] == max(item.quality for item in result.evaluated)


@given(st.one_of(cases(), cases(noise=0.3)), st.sampled_from([cheapest_within, best_within_budget]), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_everything_is_looked_at_once_and_the_front_is_what_nothing_beats(
    case: Case, search: Callable[..., SearchResult], level: float
) -> None:
    limit = level * max(max(row) for row in case.rows)
    costs, qualities = Counter[Counts](), Counter[Counts]()

    def cost(counts: Counts) -> float:
        costs[counts] += 1
        return case.costs[counts]

    def quality(counts: Counts) -> float:
        qualities[counts] += 1
        return case.qualities[counts]

    result = search(case.candidates, Measurements(cost, quality), limit)
    assert set(costs.values()) == {1} and len(costs) == len(case.candidates)
    assert set(qualities) == {item.counts for item in result.evaluated}
    assert set(qualities.values()) <= {1}

    def beaten(item: Evaluated) -> bool:
        return any(
            other.cost <= item.cost
            and other.quality >= item.quality
            and (other.cost, other.quality) != (item.cost, item.quality)
            for other in result.evaluated
        )

    best = {(item.cost, item.quality) for item in result.evaluated if not beaten(item)}
    assert [(item.cost, item.quality) for item in pareto_front(result.evaluated)] == sorted(best)


def test_nothing_good_enough_gives_none() -> None:
    space = CountSpace(64, 8, (0, 8), ((2, (0, 8, 16)),))
    result = cheapest_within(
        space.candidates, Measurements(lambda counts: -counts.tokens(64)[-1], lambda counts: 50.0), 50.1
    )
    assert result.best is None
    assert [item.counts for item in result.evaluated] == [Counts()], "all others reduce more, so one look tells"


def test_nothing_cheap_enough_gives_none_and_costs_no_look() -> None:
    space = CountSpace(64, 8, (0, 8), ((2, (0, 8, 16)),))
    result = best_within_budget(space.candidates, Measurements(lambda counts: 5.0, lambda counts: 50.0), 4.9)
    assert result.best is None
    assert result.evaluated == pareto_front(result.evaluated) == ()


def test_of_equals_the_better_and_the_cheaper_is_picked() -> None:
    one, two, three = Counts(1), Counts(0, ((2, 1),)), Counts(0, ((3, 1),))
    candidates = (one, two, three)
    costs = {one: 1.0, two: 2.0, three: 1.5}.__getitem__
    quality = {one: 70.0, two: 71.0, three: 71.0}.__getitem__
    found = best_within_budget(candidates, Measurements(costs, quality), 2.0)
    assert found.best == three
    found = cheapest_within(candidates, Measurements(costs, quality), 71.0)
    assert found.best == three


def scenes_space() -> CountSpace:
    return CountSpace(
        256, 8, tuple(range(0, 65, 8)), tuple((block, (0, 32, 64, 96, 128, 152, 184, 216, 248)) for block in (3, 5))
    )


def scenes_cost(counts: Counts) -> float:
    """As a model of 8 blocks has it: blocks by their tokens, heads and policy network apart."""
    left, total, before = 256.0 - 3 * counts.num_shared, 40.0 * bool(counts.num_shared), 0
    for block, k in (*counts.prune, (8, 0)):
        total += (block - before) * (left + left**2 / 1000) + 0.3 * left
        left, before = left - k, block
    return total


@pytest.mark.parametrize("seed", range(10))
def test_few_looks_at_the_quality(seed: int) -> None:
    random = np.random.default_rng(seed)
    falls = random.uniform(0.5, 15, 3), random.uniform(1, 6, 3)

    def quality(counts: Counts) -> float:
        shares = np.array([counts.num_shared / 64, counts.pruned_after(3) / 248, counts.pruned_after(5) / 248])
        return 80 - float((falls[0] * shares ** falls[1]).sum())

    space = scenes_space()
    rows = [(scenes_cost(counts), quality(counts)) for counts in space.candidates]
    assert len(rows) == 180
    minimum = random.uniform(77, 79.8)
    found = cheapest_within(space.candidates, Measurements(scenes_cost, quality), minimum)
    assert found.best is not None
    assert scenes_cost(found.best) == min(cost for cost, value in rows if value >= minimum)
    assert len(found.evaluated) <= 25
    budget = random.uniform(0.4, 0.9) * scenes_cost(Counts())
    found = best_within_budget(space.candidates, Measurements(scenes_cost, quality), budget)
    assert found.best is not None
    assert quality(found.best) == max(value for cost, value in rows if cost <= budget)
    assert len(found.evaluated) <= 20


def test_a_quality_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        cheapest_within([Counts()], Measurements(lambda counts: 1.0, lambda counts: float("nan")), 1.0)


def test_what_was_known_before_competes() -> None:
    """A finer search that looks elsewhere does not lose what an earlier one found."""
    measurements = Measurements(lambda counts: 10.0 - counts.num_shared, lambda counts: 90.0 - counts.num_shared % 5)
    assert cheapest_within([Counts(), Counts(5)], measurements, 89.5).best == Counts(5)
    finer = cheapest_within([Counts(), Counts(4)], measurements, 89.5)
    assert finer.best == Counts(5)
    assert {item.counts for item in finer.evaluated} == {Counts(), Counts(5), Counts(4)}
    assert best_within_budget([Counts()], measurements, 6.0).best == Counts(5)


def test_the_front_holds_what_nothing_beats() -> None:
    a, b, c, d = (
        Evaluated(Counts(n), cost, quality) for n, cost, quality in ((0, 9, 80), (1, 5, 70), (2, 6, 69), (3, 9, 60))
    )
    assert pareto_front([a, b, c, d]) == (b, a)
