"""Counts with the least cost at a quality, or the best quality at a cost, with few looks at the quality.

Costs are cheap and all computed. Quality is expensive, so what is known of it is used as far as one assumption reaches:
it does not rise when a count rises and no other falls. Where that holds, the results are exact. Where it fails, as measured
qualities do by a little, what is picked is still the best among everything evaluated, and meets the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexport.calibration.counts import Counts

__all__ = ["Evaluated", "Measurements", "SearchResult", "best_within_budget", "cheapest_within", "pareto_front"]


@dataclass(frozen=True)
class Evaluated:
    """Counts with their cost and quality."""

    counts: Counts
    cost: float
    quality: float


class Measurements:
    """Cost and quality of counts, each asked for once, in the order in which they were first looked at.

    Args:
        cost: Of counts; cheap.
        quality: Of counts, in percent; a pass over all images.
    """

    def __init__(self, cost: Callable[[Counts], float], quality: Callable[[Counts], float]) -> None:
        self._cost, self._quality = cost, quality
        self._costs: dict[Counts, float] = {}
        self._qualities: dict[Counts, float] = {}

    def cost(self, counts: Counts) -> float:
        """Raises as the cost that was given."""
        if counts not in self._costs:
            self._costs[counts] = self._cost(counts)
        return self._costs[counts]

    def quality(self, counts: Counts) -> float:
        """Raises as the quality that was given."""
        if counts not in self._qualities:
            quality = self._quality(counts)
            if math.isnan(quality):
                raise ValueError(f"the quality of {counts} is not a number")
            self._qualities[counts] = quality
        return self._qualities[counts]

    @property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """Everything whose quality is known."""
        return tuple(Evaluated(counts, self.cost(counts), quality) for counts, quality in self._qualities.items())


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        best: Of everything evaluated, before this search as well; None where nothing of it meets the limit.
        evaluated: Everything whose quality was looked at so far, in that order.
    """

    best: Counts | None
    evaluated: tuple[Evaluated, ...]


def cheapest_within(candidates: Sequence[Counts], measurements: Measurements, minimum: float) -> SearchResult:
    """The cheapest counts whose quality is at least ``minimum``; of equally cheap ones the best evaluated.

    A search by halves: every evaluation rules out what is not cheaper (if it is good enough), or what reduces at least as
    much everywhere (if it is not), and the candidate is taken that rules out the most in the worse of both cases.

    Args:
        candidates: Different counts, in a fixed order.
        measurements: What is known of counts; takes up what is looked at.
        minimum: In the unit of quality.
    """
    costs, at_most = _costs(candidates, measurements), _at_most(candidates)
    possible = np.ones(len(costs), dtype=bool)
    while possible.any():
        at = np.flatnonzero(possible)
        more = at_most[np.ix_(at, at)].sum(axis=1)  # open candidates with at least its counts, itself among them
        no_cheaper = len(at) - np.searchsorted(np.sort(costs[at]), costs[at])
        chosen = at[np.lexsort((costs[at], -np.minimum(more, no_cheaper)))[0]]
        if measurements.quality(candidates[chosen]) >= minimum:
            possible &= costs < costs[chosen]
        else:
            possible &= ~at_most[chosen]
        possible[chosen] = False
    good = [item for item in measurements.evaluated if item.quality >= minimum]
    return _result(measurements, good, lambda item: (item.cost, -item.quality))


def best_within_budget(candidates: Sequence[Counts], measurements: Measurements, budget: float) -> SearchResult:
    """The counts of the highest quality among those that cost at most ``budget``; of equally good ones the cheapest.

    Evaluates what the budget allows and nothing that reduces more than another candidate that it allows.

    Args: As `cheapest_within` has them; ``budget`` in the unit of cost.
    """
    costs, at_most = _costs(candidates, measurements), _at_most(candidates)
    allowed = costs <= budget
    less = at_most & ~at_most.T  # [i, j]: i reduces less than j
    minimal = np.flatnonzero(allowed & ~less[allowed].any(axis=0))
    for chosen in minimal[np.argsort(-costs[minimal], kind="stable")]:
        measurements.quality(candidates[chosen])
    cheap = [item for item in measurements.evaluated if item.cost <= budget]
    return _result(measurements, cheap, lambda item: (-item.quality, item.cost))


def pareto_front(evaluated: Iterable[Evaluated]) -> tuple[Evaluated, ...]:
    """Those that no other beats in cost and quality, ascending in both."""
    front: list[Evaluated] = []
    for item in sorted(evaluated, key=lambda item: (item.cost, -item.quality)):
        if not front or item.quality > front[-1].quality:
            front.append(item)
    return tuple(front)


def _result(
    measurements: Measurements, meeting: Sequence[Evaluated], rank: Callable[[Evaluated], tuple[float, float]]
) -> SearchResult:
    return SearchResult(min(meeting, key=rank).counts if meeting else None, measurements.evaluated)


def _costs(candidates: Sequence[Counts], measurements: Measurements) -> NDArray[np.float64]:
    return np.array([measurements.cost(counts) for counts in candidates], dtype=np.float64)


def _at_most(candidates: Sequence[Counts]) -> NDArray[np.bool_]:
    """bool (n, n); [i, j]: no count of candidate i exceeds that of j."""
    blocks = sorted({block for counts in candidates for block, _ in counts.prune})
    rows = [[counts.num_shared, *map(counts.pruned_after, blocks)] for counts in candidates]
    table = np.array(rows, dtype=np.int64).reshape(len(candidates), 1 + len(blocks))
    result = np.ones((len(candidates), len(candidates)), dtype=bool)
    for column in table.T:
        result &= column[:, None] <= column[None, :]
    return result
