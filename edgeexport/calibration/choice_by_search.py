"""Counts by a search: the least cost within a drop of mIoU, or the best quality within a budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeexport.calibration.choice import Choice
from edgeexport.calibration.counts import Counts
from edgeexport.calibration.proposal import cost_text
from edgeexport.calibration.search import Measurements, best_within_budget, cheapest_within
from edgeexport.calibration.space import CountSpace
from edgeexport.calibration.task import CalibrationTask
from edgeexport.errors import UsageError

__all__ = ["choice_by_search"]

_ROUNDS = 4


def choice_by_search(task: CalibrationTask, measurements: Measurements) -> Choice:
    """The cheapest counts within a drop of mIoU, or the best within a budget, over the task's space, made finer in turn.

    Raises:
        UsageError: Nothing fits the budget, or the latency table does not reach the dense model.
    """
    dense, by_quality = Counts(), task.request.method == "max-miou-drop"
    dense_cost = measurements.cost(dense)
    candidates, notes = _priced(task.space, measurements)
    if not by_quality:
        _check_budget(task, candidates, measurements)
    dense_quality = measurements.quality(dense)
    value = dense_quality - task.request.value if by_quality else task.request.value
    limit = ("quality" if by_quality else "cost", value)
    search = cheapest_within if by_quality else best_within_budget
    space, rounds = task.space, 0
    while True:
        rounds += 1
        best = search(candidates, measurements, value).best
        assert best is not None  # the dense model is good enough, or a candidate was found to fit the budget
        finer = space.refined(best)
        refined, _ = _priced(finer, measurements)
        if best == dense or set(refined) <= set(candidates):
            break
        space, candidates = finer, refined
        if rounds == _ROUNDS:
            break
    looks = len(measurements.evaluated)
    details = {"search": {"candidates": len(candidates), "rounds": rounds, "measured": looks}}
    if best == dense:
        return Choice(dense, None, _why_dense(task, candidates, measurements), limit, notes, details)
    exact = _without_alignment(task.space, best, measurements, limit)
    reason = "" if measurements.cost(best) < dense_cost else "within the request, nothing cheaper than it was found"
    return Choice(best, exact, reason, limit, notes, details)


def _priced(space: CountSpace, measurements: Measurements) -> tuple[tuple[Counts, ...], tuple[str, ...]]:
    """The candidates that have a cost, and a sentence about those that a latency table does not reach."""
    priced, problem = [], ""
    for counts in space.candidates:
        try:
            measurements.cost(counts)
        except UsageError as error:
            problem = problem or f"{error.where} {error.problem}"
        else:
            priced.append(counts)
    missing = len(space.candidates) - len(priced)
    text = f"{missing} of {len(space.candidates)} candidates have no cost and were left out: {problem}."
    return tuple(priced), (text,) if missing else ()


def _why_dense(task: CalibrationTask, candidates: Sequence[Counts], measurements: Measurements) -> str:
    dense = measurements.cost(Counts())
    if task.request.method != "max-miou-drop":
        return f"it takes {cost_text(dense, task.cost.unit)}, which is within the budget"
    if not any(measurements.cost(counts) < dense for counts in candidates):
        others = len(candidates) - 1
        return f"none of {others} sets of counts costs less, for heads and policy network cost more than is saved"
    looks = len(measurements.evaluated)
    return f"of {looks} sets of counts measured, none within {task.request.value:g} points is cheaper"


def _check_budget(task: CalibrationTask, candidates: Sequence[Counts], measurements: Measurements) -> None:
    cheapest = min(map(measurements.cost, candidates))
    if cheapest <= task.request.value:
        return
    unit, dense = task.cost.unit, measurements.cost(Counts())
    raise UsageError(
        task.request.text,
        f"the cheapest of {len(candidates)} sets of counts takes {cost_text(cheapest, unit)}, "
        f"the dense model {cost_text(dense, unit)}",
        "give a larger budget",
    )


def _without_alignment(space: CountSpace, best: Counts, measurements: Measurements, limit: tuple[str, float]) -> Counts:
    """``best`` with its last count moved as far as the request allows, by less than a step of the alignment.

    Within a drop of quality it prunes more, within a budget less.
    """
    kind, value = limit
    choices = list(_moved(space, best, 1 if kind == "quality" else -1))
    if kind == "cost":
        return next((counts for counts in reversed(choices) if measurements.cost(counts) <= value), best)
    low, high = -1, len(choices) - 1  # choices[: low + 1] are good enough; halves, as quality falls with counts
    while low < high:
        middle = (low + high + 1) // 2
        if measurements.quality(choices[middle]) >= value:
            low = middle
        else:
            high = middle - 1
    return best if low < 0 else choices[low]


def _moved(space: CountSpace, counts: Counts, direction: int) -> Iterator[Counts]:
    """``counts`` with the last one (the deepest k, or S) moved by 1, 2, ..., by less than a step of the alignment."""
    for change in range(1, space.align):
        shared, prune = counts.num_shared, dict(counts.prune)
        if prune:
            block, k = counts.prune[-1]
            prune[block] = last = k + direction * change
        else:
            shared = last = shared + direction * change
        if last < 1 or shared > space.shared[-1]:
            return
        moved = Counts.of(shared, prune)
        if moved.tokens(space.num_patches)[-1] < 1:
            return
        yield moved
