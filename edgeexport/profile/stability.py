"""Does a latency change for good during a measurement? Then it belongs to two states of the device, and is of neither.

A device that throttles tells so in its latencies even where it has no sensor that says it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SMALLEST_SHIFT", "Shift", "latency_shift"]

SMALLEST_SHIFT = 0.10
"""A lasting change by less than this is left to the coefficient of variation."""

_MOST_BATCHES, _RUNS_IN_BATCH, _LEAST_BATCHES = 20, 3, 3
_SIGMAS = 5.0  # the place of the change is searched for, so that chance has many tries


@dataclass(frozen=True)
class Shift:
    """A lasting change: medians before and after it, and where in the measurement (0..1 of the samples) it happened."""

    before_ms: float
    after_ms: float
    place: float

    def __str__(self) -> str:
        change = self.after_ms / self.before_ms - 1
        return (
            f"the latency {'rose' if change > 0 else 'fell'} for good by {abs(change):.0%} "
            f"({self.before_ms:.3g} to {self.after_ms:.3g} ms) after {self.place:.0%} of the runs"
        )


def latency_shift(samples_ms: Sequence[float]) -> Shift | None:
    """The clearest lasting change of a latency, if there is one that chance does not explain.

    The samples are cut into up to 20 batches in the order of time. A batch stands as its median, which single outliers do
    not move; how far batches of the same side lie apart tells how much chance does, slow wandering included.

    Args:
        samples_ms: In the order of time; of fewer than 18 nothing is said.
    """
    values = np.asarray(samples_ms, np.float64)
    count = min(_MOST_BATCHES, len(values) // _RUNS_IN_BATCH)
    if count < 2 * _LEAST_BATCHES or float(values.min()) <= 0:
        return None
    medians = np.array([float(np.median(batch)) for batch in np.array_split(np.log(values), count)])
    clearest: tuple[float, Shift] | None = None
    for cut in range(_LEAST_BATCHES, count - _LEAST_BATCHES + 1):
        first, second = (float(np.median(side)) for side in (medians[:cut], medians[cut:]))
        size = abs(second - first)
        sigmas = size / max(_error(medians[:cut], medians[cut:]), 1e-9)
        if size >= math.log1p(SMALLEST_SHIFT) and sigmas > _SIGMAS and (clearest is None or sigmas > clearest[0]):
            clearest = sigmas, Shift(math.exp(first), math.exp(second), cut / count)
    return clearest[1] if clearest else None


def _error(before: NDArray, after: NDArray) -> float:
    """Standard error of the difference of two means of batches, from the spread within the sides."""
    freedom = len(before) + len(after) - 2
    variance = (float(np.var(before)) * len(before) + float(np.var(after)) * len(after)) / freedom
    return math.sqrt(variance * (1 / len(before) + 1 / len(after)))
