"""How the counts are chosen: by coverage, or by a search for the least cost or the best quality.

Each function returns the counts chosen, aligned, and those that the same request gives without alignment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.counts_request import CountsTask
from edgeexport.calibration.coverage import Coverage, ObserveFixed, counts_for_coverage
from edgeexport.calibration.proposal import cost_text
from edgeexport.calibration.search import Evaluated, best_within_budget, cheapest_within
from edgeexport.calibration.space import CountSpace
from edgeexport.errors import UsageError

__all__ = ["Choice", "Measured", "choice_by_coverage", "choice_by_search", "pareto_front"]

_ROUNDS = 4


@dataclass(frozen=True)
class Choice:
    """What a method chose.

    Attributes:
        counts: Aligned; the dense model's where nothing else meets the request.
        exact: Without alignment; None where ``counts`` are the dense model's.
        reason: Why the dense model wins, or ''.
        limit: ('cost' or 'quality', value), or None.
        notes: Sentences for the reader.
        details: What else there is to show, JSON-ready.
    """

    counts: Counts
    exact: Counts | None
    reason: str
    limit: tuple[str, float] | None = None
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


class Measured:
    """Cost and quality of counts, each looked at once, in the order in which they were first asked for.

    Args:
        cost: Of counts.
        quality: Of counts, in percent.
    """

    def __init__(self, cost: Callable[[Counts], float], quality: Callable[[Counts], float]) -> None:
        self._cost, self._quality = cost, quality
        self._costs: dict[Counts, float] = {}
        self._qualities: dict[Counts, float] = {}

    def cost(self, counts: Counts) -> float:
        """Cheap."""
        if counts not in self._costs:
            self._costs[counts] = self._cost(counts)
        return self._costs[counts]

    def quality(self, counts: Counts) -> float:
        """A pass over all images."""
        if counts not in self._qualities:
            self._qualities[counts] = self._quality(counts)
        return self._qualities[counts]

    @property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """Everything whose quality is known."""
        return tuple(Evaluated(counts, self.cost(counts), quality) for counts, quality in self._qualities.items())


def choice_by_coverage(task: CountsTask, observe: ObserveFixed, measured: Measured, align: int) -> Choice:
    """The largest counts that the wanted share of images allows, without those that cost more than they save.

    Raises:
        UsageError: See `counts_for_coverage`.
    """
    found, notes = _coverage_that_pays(task, observe, measured, align)
    counts, details = found.counts, {"coverage": found.as_dict()}
    if counts == Counts():
        wanted = f"{100 * task.request.value:g} % of the images"
        return Choice(counts, None, f"there are no counts but 0 that suit {wanted}", None, (), details)
    exact, _ = _coverage_that_pays(task, observe, measured, 1)
    saves = measured.cost(counts) < measured.cost(Counts())
    reason = "" if saves else "at the counts that the images allow, heads and policy network cost more than is saved"
    return Choice(counts, exact.counts, reason, None, notes, details)


def choice_by_search(task: CountsTask, measured: Measured, align: int) -> Choice:
    """The least cost within a drop of mIoU, or the best quality within a budget, over the task's space, made finer in turn.

    Raises:
        UsageError: Nothing fits the budget, or the latency table does not reach the dense model.
    """
    request, dense = task.request, Counts()
    dense_cost = measured.cost(dense)
    candidates, notes = _priced(task.space, measured)
    if request.method != "max-miou-drop":
        _check_budget(task, candidates, measured)
    limit = ("cost", request.value)
    if request.method == "max-miou-drop":
        limit = ("quality", measured.quality(dense) - request.value)
    measured.quality(dense)
    space, best, rounds = task.space, dense, 0
    while rounds < _ROUNDS:
        rounds += 1
        search = cheapest_within if limit[0] == "quality" else best_within_budget
        search(_Listed(candidates), measured.cost, measured.quality, limit[1])
        best = _best(measured, limit)
        finer = space.refined(best)
        new, _ = _priced(finer, measured)
        if best == dense or set(new) <= set(candidates):
            break
        space, candidates = finer, new
    details = {"search": {"candidates": len(candidates), "rounds": rounds, "measured": len(measured.evaluated)}}
    if best == dense:
        reason = _why_dense(task, candidates, measured, limit)
        return Choice(dense, None, reason, limit, notes, details)
    exact = _without_alignment(task, best, measured, align, limit)
    reason = "" if measured.cost(best) < dense_cost else "within the request, nothing cheaper than it was found"
    return Choice(best, exact, reason, limit, notes, details)


def pareto_front(evaluated: Sequence[Evaluated]) -> tuple[Evaluated, ...]:
    """Those that no other beats in cost and quality, ascending in both."""
    front: list[Evaluated] = []
    for item in sorted(evaluated, key=lambda item: (item.cost, -item.quality)):
        if not front or item.quality > front[-1].quality:
            front.append(item)
    return tuple(front)


def _coverage_that_pays(
    task: CountsTask, observe: ObserveFixed, measured: Measured, align: int
) -> tuple[Coverage, tuple[str, ...]]:
    """Counts by coverage, found anew without those whose head or policy network costs more than they save."""
    blocks, shares = task.blocks, task.shares
    notes: list[str] = []
    while True:
        found = counts_for_coverage(
            observe,
            coverage=task.request.value,
            thresholds={block: task.thresholds[block] for block in blocks},
            num_patches=task.space.num_patches,
            share=shares,
            align=align,
        )
        cheapest = min(_parts(found.counts), key=measured.cost)
        if cheapest in (found.counts, Counts()):
            return found, tuple(notes)
        notes += _left_out(found.counts, cheapest, measured, task.cost.unit)
        blocks = tuple(block for block in blocks if cheapest.pruned_after(block))
        shares = cheapest.num_shared > 0


@dataclass(frozen=True)
class _Listed:
    found: tuple[Counts, ...]

    def candidates(self) -> tuple[Counts, ...]:
        return self.found


def _priced(space: CountSpace, measured: Measured) -> tuple[tuple[Counts, ...], tuple[str, ...]]:
    """The candidates that have a cost, and a sentence about those that a latency table does not reach."""
    known, problem = [], ""
    for counts in space.candidates():
        try:
            measured.cost(counts)
        except UsageError as error:
            problem = problem or f"{error.where} {error.problem}"
        else:
            known.append(counts)
    missing = len(space.candidates()) - len(known)
    text = f"{missing} of {len(space.candidates())} candidates have no cost and were left out: {problem}."
    return tuple(known), (text,) if missing else ()


def _why_dense(task: CountsTask, candidates: Sequence[Counts], measured: Measured, limit: tuple[str, float]) -> str:
    dense = measured.cost(Counts())
    if limit[0] == "cost":
        return f"it takes {cost_text(dense, task.cost.unit)}, which is within the budget"
    if not any(measured.cost(counts) < dense for counts in candidates):
        others = len(candidates) - 1
        return f"none of {others} sets of counts costs less, for heads and policy network cost more than is saved"
    return f"of {len(measured.evaluated)} sets of counts measured, none within {task.request.value:g} points is cheaper"


def _check_budget(task: CountsTask, candidates: Sequence[Counts], measured: Measured) -> None:
    cheapest = min(map(measured.cost, candidates))
    if cheapest <= task.request.value:
        return
    unit, dense = task.cost.unit, measured.cost(Counts())
    raise UsageError(
        task.request.text,
        f"the cheapest of {len(candidates)} sets of counts takes {cost_text(cheapest, unit)}, "
        f"the dense model {cost_text(dense, unit)}",
        "give a larger budget",
    )


def _best(measured: Measured, limit: tuple[str, float]) -> Counts:
    """Of all that was measured: the cheapest that is good enough, or the best that is cheap enough."""
    kind, value = limit
    if kind == "quality":
        good = [item for item in measured.evaluated if item.quality >= value]
        return min(good, key=lambda item: (item.cost, -item.quality)).counts
    good = [item for item in measured.evaluated if item.cost <= value]
    return min(good, key=lambda item: (-item.quality, item.cost)).counts


def _without_alignment(
    task: CountsTask, best: Counts, measured: Measured, align: int, limit: tuple[str, float]
) -> Counts:
    """``best`` with its last count moved as far as the request allows, by less than a step of the alignment.

    Within a drop of quality it prunes more, within a budget less.
    """
    kind, value = limit
    longer = kind == "quality"
    choices = list(_moved(task, best, align if longer else -align))
    if not longer:
        return next((counts for counts in reversed(choices) if measured.cost(counts) <= value), best)
    low, high = -1, len(choices) - 1  # choices[: low + 1] are good enough; halves, as quality falls with counts
    while low < high:
        middle = (low + high + 1) // 2
        if measured.quality(choices[middle]) >= value:
            low = middle
        else:
            high = middle - 1
    return best if low < 0 else choices[low]


def _moved(task: CountsTask, counts: Counts, step: int) -> Iterator[Counts]:
    """``counts`` with the last one (the deepest k, or S) moved by 1, 2, ... in the direction of ``step``, short of it."""
    for change in range(1, abs(step)):
        by = change if step > 0 else -change
        if counts.prune:
            block, k = counts.prune[-1]
            changed = Counts.of(counts.num_shared, {**dict(counts.prune), block: k + by}) if k + by > 0 else None
        else:
            fits = 0 < counts.num_shared + by <= task.space.shared[-1]
            changed = Counts(counts.num_shared + by) if fits else None
        if changed is None or changed.tokens(task.space.num_patches)[-1] < 1:
            return
        yield changed


def _parts(counts: Counts) -> Iterator[Counts]:
    """All ways to do without some of the counts, ``counts`` itself first."""
    for taken in itertools.product((True, False), repeat=1 + len(counts.prune)):
        shared = counts.num_shared if taken[0] else 0
        yield Counts(shared, tuple(stage for stage, kept in zip(counts.prune, taken[1:], strict=True) if kept))


def _left_out(counts: Counts, kept: Counts, measured: Measured, unit: str) -> list[str]:
    """Why counts are not taken: what the model would cost with them in addition to those kept."""
    sentences = []
    parts = [("Sharing {} windows", 0, counts.num_shared)]
    parts += [(f"Pruning {{}} tokens after block {block}", block, k) for block, k in counts.prune]
    for text, block, count in parts:
        if not count or (kept.pruned_after(block) if block else kept.num_shared):
            continue
        prune = {**dict(kept.prune), **({block: count} if block else {})}
        more = measured.cost(Counts.of(kept.num_shared if block else count, prune)) - measured.cost(kept)
        what = "its head" if block else "the policy network"
        sentences.append(f"{text.format(count)} is left out: {what} costs {cost_text(more, unit)} more than is saved.")
    return sentences
