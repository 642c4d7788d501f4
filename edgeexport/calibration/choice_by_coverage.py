"""Counts that a share of the images allows, without those that cost more than they save."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from edgeexport.calibration.choice import Choice
from edgeexport.calibration.counts import Counts
from edgeexport.calibration.coverage import Coverage, ObserveFixed, counts_for_coverage
from edgeexport.calibration.proposal import cost_text
from edgeexport.calibration.search import Measurements
from edgeexport.calibration.task import CalibrationTask

__all__ = ["choice_by_coverage"]


def choice_by_coverage(task: CalibrationTask, observe: ObserveFixed, measurements: Measurements) -> Choice:
    """The largest counts that the wanted share of images allows, without those that cost more than they save.

    Raises:
        UsageError: See `counts_for_coverage`.
    """
    coverage, notes = _coverage_that_pays(task, observe, measurements, task.space.align)
    counts, details = coverage.counts, {"coverage": coverage.as_dict()}
    if counts == Counts():
        wanted = f"{100 * task.request.value:g} % of the images"
        return Choice(counts, None, f"there are no counts but 0 that suit {wanted}", details=details)
    exact, _ = _coverage_that_pays(task, observe, measurements, 1)
    saves = measurements.cost(counts) < measurements.cost(Counts())
    reason = "" if saves else "at the counts that the images allow, heads and policy network cost more than is saved"
    return Choice(counts, exact.counts, reason, notes=notes, details=details)


def _coverage_that_pays(
    task: CalibrationTask, observe: ObserveFixed, measurements: Measurements, align: int
) -> tuple[Coverage, tuple[str, ...]]:
    """Counts by coverage, chosen anew without those whose head or policy network costs more than they save."""
    blocks, shares = task.blocks, task.shares
    notes: list[str] = []
    while True:
        coverage = counts_for_coverage(
            observe,
            coverage=task.request.value,
            thresholds={block: task.thresholds[block] for block in blocks},
            num_patches=task.space.num_patches,
            share=shares,
            align=align,
        )
        cheapest = min(_subsets(coverage.counts), key=measurements.cost)
        if cheapest in (coverage.counts, Counts()):
            return coverage, tuple(notes)
        notes += _left_out(coverage.counts, cheapest, measurements, task.cost.unit)
        blocks = tuple(block for block in blocks if cheapest.pruned_after(block))
        shares = cheapest.num_shared > 0


def _subsets(counts: Counts) -> Iterator[Counts]:
    """All ways to do without some of the counts, ``counts`` itself first."""
    for taken in itertools.product((True, False), repeat=1 + len(counts.prune)):
        shared = counts.num_shared if taken[0] else 0
        yield Counts(shared, tuple(itertools.compress(counts.prune, taken[1:])))


def _left_out(counts: Counts, kept: Counts, measurements: Measurements, unit: str) -> Iterator[str]:
    """Why counts are not taken: what the model would cost with them in addition to those kept."""
    refused = [(f"Sharing {counts.num_shared} windows", "the policy network", Counts(counts.num_shared, kept.prune))]
    for block, k in counts.prune:
        added = Counts.of(kept.num_shared, {**dict(kept.prune), block: k})
        refused.append((f"Pruning {k} tokens after block {block}", "its head", added))
    for what, consumer, added in refused:
        if added != kept:
            more = cost_text(measurements.cost(added) - measurements.cost(kept), unit)
            yield f"{what} is left out: {consumer} costs {more} more than is saved."
