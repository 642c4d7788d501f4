"""Counts with the least cost at a quality, or the best quality at a cost, with few looks at the quality.

Costs are cheap and all computed. Quality is expensive, so what is known of it is used as far as one assumption reaches:
it does not rise when a count rises and no other falls. Where that holds, the results are exact. Where it fails, as measured
qualities do by a little, what is picked is still the best among everything evaluated, and meets the limit.
No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeexport.calibration.counts import Counts

__all__ = ["Candidates", "Evaluated", "SearchResult", "best_within_budget", "cheapest_within"]


class Candidates(Protocol):
    """What is searched; `edgeexport.calibration.space.CountSpace` is one."""

    def candidates(self) -> tuple[Counts, ...]:
        """Different counts, in a fixed order."""


@dataclass(frozen=True)
class Evaluated:
    """Counts with their cost and quality."""

    counts: Counts
    cost: float
    quality: float


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        best: None where nothing that was evaluated meets the limit.
        evaluated: Everything whose quality was looked at, in that order.
        pareto: Of these, what no other one beats in cost and quality; ascending in both.
    """

    best: Counts | None
    evaluated: tuple[Evaluated, ...]
    pareto: tuple[Evaluated, ...]


def cheapest_within(
    space: Candidates,
    cost: Callable[[Counts], float],
    quality: Callable[[Counts], float],
    minimum: float,
) -> SearchResult:
    """The cheapest counts whose quality is at least ``minimum``; of equally cheap ones the best evaluated.

    A search by halves: every evaluation rules out what is not cheaper (if it is good enough), or what reduces at least as
    much everywhere (if it is not), and the candidate is taken that rules out the most in the worse of both cases.

    Args:
        space: The candidates.
        cost: Of one candidate; called once for each.
        quality: Of one candidate; called at most once for each.
        minimum: In the unit of ``quality``.
    """
    board = _Board(space.candidates(), cost, quality)
    possible = np.ones(len(board.costs), dtype=bool)
    while possible.any():
        at = np.flatnonzero(possible)
        more = board.at_most[np.ix_(at, at)].sum(axis=1)  # open candidates with at least its counts, itself among them
        no_cheaper = len(at) - np.searchsorted(np.sort(board.costs[at]), board.costs[at])
        chosen = at[np.lexsort((board.costs[at], -np.minimum(more, no_cheaper)))[0]]
        found = board.evaluate(chosen)
        if found.quality >= minimum:
            possible &= board.costs < found.cost
        else:
            possible &= ~board.at_most[chosen]
        possible[chosen] = False
    return board.result(
        [item for item in board.evaluated if item.quality >= minimum], lambda item: (item.cost, -item.quality)
    )


def best_within_budget(
    space: Candidates,
    cost: Callable[[Counts], float],
    quality: Callable[[Counts], float],
    budget: float,
) -> SearchResult:
    """The counts of the highest quality among those that cost at most ``budget``; of equally good ones the cheapest.

    Evaluates what the budget allows and nothing that reduces more than another candidate that it allows.

    Args: As `cheapest_within` has them; ``budget`` in the unit of ``cost``.
    """
    board = _Board(space.candidates(), cost, quality)
    allowed = board.costs <= budget
    less = board.at_most & ~board.at_most.T  # [i, j]: i reduces less than j
    minimal = np.flatnonzero(allowed & ~less[allowed].any(axis=0))
    order = minimal[np.argsort(-board.costs[minimal], kind="stable")]
    for chosen in order:
        board.evaluate(chosen)
    return board.result(board.evaluated, lambda item: (-item.quality, item.cost))


class _Board:
    """All candidates with their costs and order, and the qualities looked at so far.

    Attributes:
        costs: float64 (n,).
        at_most: bool (n, n); [i, j]: no count of candidate i exceeds that of j.
    """

    def __init__(
        self, candidates: tuple[Counts, ...], cost: Callable[[Counts], float], quality: Callable[[Counts], float]
    ) -> None:
        self.candidates, self._quality = candidates, quality
        self.costs = np.array([cost(counts) for counts in candidates], dtype=np.float64)
        self.at_most = _at_most(candidates)
        self.evaluated: list[Evaluated] = []

    def evaluate(self, index: int) -> Evaluated:
        counts = self.candidates[index]
        quality = self._quality(counts)
        if math.isnan(quality):
            raise ValueError(f"the quality of {counts} is not a number")
        found = Evaluated(counts, float(self.costs[index]), quality)
        self.evaluated.append(found)
        return found

    def result(self, good: list[Evaluated], rank: Callable[[Evaluated], tuple[float, float]]) -> SearchResult:
        best = min(good, key=rank).counts if good else None
        return SearchResult(best, tuple(self.evaluated), _pareto(self.evaluated))


def _at_most(candidates: tuple[Counts, ...]) -> NDArray[np.bool_]:
    blocks = sorted({block for counts in candidates for block, _ in counts.prune})
    rows = [[counts.num_shared, *map(counts.pruned_after, blocks)] for counts in candidates]
    table = np.array(rows, dtype=np.int64).reshape(len(candidates), 1 + len(blocks))
    result = np.ones((len(candidates), len(candidates)), dtype=bool)
    for column in table.T:
        result &= column[:, None] <= column[None, :]
    return result


def _pareto(evaluated: list[Evaluated]) -> tuple[Evaluated, ...]:
    front: list[Evaluated] = []
    for item in sorted(evaluated, key=lambda item: (item.cost, -item.quality)):
        if not front or item.quality > front[-1].quality:
            front.append(item)
    return tuple(front)
