"""Figures that stand for a measurement: percentiles and spread of latencies, and the interval of a speed-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from edgeexport.profile.protocol import PERCENTILES

__all__ = ["CONFIDENCE", "Speedup", "speedup_interval", "summary"]

CONFIDENCE = 0.99
"""Of a speed-up's interval: who asks at every build should not be alarmed by chance at every twentieth."""

_RESAMPLES, _SEED = 10_000, 11


def summary(samples_ms: Sequence[float], percentiles: Sequence[float] = ()) -> dict[str, float | int | None]:
    """What is said of latencies. Every sample counts: none is clipped, trimmed or smoothed.

    Args:
        samples_ms: In milliseconds, at least one.
        percentiles: Beside 50, 90 and 99; between two samples they are interpolated linearly.

    Returns:
        mean, p50, p90, p99 and so on, min, max in milliseconds; cv, the coefficient of variation (sample standard deviation
        over mean; None of one sample); n.
    """
    values = np.asarray(samples_ms, np.float64)
    wanted = sorted({*PERCENTILES, *percentiles})
    mean = float(values.mean())
    return {
        "mean": mean,
        **{f"p{percent:g}": float(np.percentile(values, percent)) for percent in wanted},
        "cv": float(values.std(ddof=1)) / mean if len(values) > 1 and mean > 0 else None,
        "min": float(values.min()),
        "max": float(values.max()),
        "n": len(values),
    }


@dataclass(frozen=True)
class Speedup:
    """How many times faster a candidate is than its baseline.

    Attributes:
        estimate: Baseline time over candidate time; above 1 the candidate is faster.
        low, high: Ends of the interval.
        confidence: Such as 0.99.
        rounds: How many it rests on.
        method: For people.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    rounds: int
    method: str

    @property
    def verdict(self) -> str:
        """'faster', 'slower', or 'no difference shown' where the interval holds 1."""
        return "faster" if self.low > 1 else "slower" if self.high < 1 else "no difference shown"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "verdict": self.verdict}


def speedup_interval(
    pairs: Sequence[tuple[float, float]],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = _RESAMPLES,
    seed: int = _SEED,
) -> Speedup:
    """Speed-up of paired times, with a bootstrap interval of the mean log ratio over the pairs.

    The interval is the expanded percentile interval (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"):
    the plain one is too narrow for few pairs, as a normal quantile is beside Student's. The studentised bootstrap has no
    bounds where ratios nearly repeat.

    Args:
        pairs: (baseline, candidate) times of each independent unit, in any unit of time; at least two.
        confidence: Of the two-sided interval.
        resamples, seed: Of the bootstrap.
    """
    times = np.asarray(pairs, np.float64)
    ratios = np.log(times[:, 0] / times[:, 1])
    count = len(ratios)
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    means = ratios[drawn].mean(axis=1)
    tail = _expanded_tail((1 - confidence) / 2, count)
    low, high = np.quantile(means, [tail, 1 - tail])
    centre = float(ratios.mean())
    return Speedup(
        estimate=math.exp(centre),
        low=math.exp(min(float(low), centre)),
        high=math.exp(max(float(high), centre)),
        confidence=confidence,
        rounds=count,
        method="paired blocks, expanded percentile bootstrap over rounds",
    )


def _expanded_tail(tail: float, count: int) -> float:
    """Tail of the bootstrap distribution that gives a mean of ``count`` values the width of Student's interval."""
    normal = NormalDist()
    return normal.cdf(-math.sqrt(count / (count - 1)) * _student(-normal.inv_cdf(tail), count - 1))


def _student(z: float, freedom: int) -> float:
    """Student's quantile from the normal one: Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5)."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))
