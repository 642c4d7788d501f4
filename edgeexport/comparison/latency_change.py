"""How two measured latencies differ, with an interval: from samples that were taken one run after the other.

Consecutive inferences resemble each other, so samples are resampled in stretches of neighbours (moving blocks), not one by
one. The interval covers what varies within the two measurements. What changed between them (temperature, another
process) it cannot cover; `edgeexport profile --baseline` alternates both in one measurement for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONFIDENCE", "LatencyChange", "latency_change"]

CONFIDENCE = 0.95
_RESAMPLES, _SEED = 2000, 17
_FEWEST = 10
_AT_ONCE = 1 << 20  # numbers in memory


@dataclass(frozen=True)
class LatencyChange:
    """B's median over A's.

    Attributes:
        ratio: Above 1 B is slower.
        low, high: Ends of the interval.
        confidence: Such as 0.95.
        samples: Of A and of B.
        method: For people.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    samples: tuple[int, int]
    method: str

    @property
    def verdict(self) -> str:
        """'slower', 'faster', or 'no difference shown' where the interval holds 1."""
        return "slower" if self.low > 1 else "faster" if self.high < 1 else "no difference shown"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "verdict": self.verdict}


def latency_change(
    a_ms: Sequence[float], b_ms: Sequence[float], *, confidence: float = CONFIDENCE, resamples: int = _RESAMPLES
) -> LatencyChange | None:
    """Compares two series of latencies.

    Args:
        a_ms, b_ms: In the order in which they were measured, in milliseconds.
        confidence: Of the two-sided percentile interval.
        resamples: Of the bootstrap, with a fixed seed.

    Returns:
        None where a series has fewer than 10 samples, or holds something that is no time.
    """
    a, b = np.asarray(a_ms, np.float64), np.asarray(b_ms, np.float64)
    if min(a.size, b.size) < _FEWEST or not all(bool((series > 0).all()) for series in (a, b)):
        return None
    random = np.random.default_rng(_SEED)
    ratios = _resampled_medians(b, resamples, random) / _resampled_medians(a, resamples, random)
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return LatencyChange(
        float(np.median(b) / np.median(a)),
        float(low),
        float(high),
        confidence,
        (int(a.size), int(b.size)),
        "ratio of medians, moving-block bootstrap of each measurement",
    )


def _resampled_medians(series: NDArray, resamples: int, random: np.random.Generator) -> NDArray:
    """Medians of series put together from stretches of about n^(1/3) neighbours, (resamples,)."""
    length = max(1, round(series.size ** (1 / 3)))
    stretches = math.ceil(series.size / length)
    medians = []
    rows = max(1, _AT_ONCE // series.size)
    for first in range(0, resamples, rows):
        starts = random.integers(0, series.size - length + 1, (min(rows, resamples - first), stretches))
        chosen = (starts[:, :, None] + np.arange(length)).reshape(len(starts), -1)[:, : series.size]
        medians.append(np.median(series[chosen], axis=1))
    return np.concatenate(medians)
