"""How far a mean over images can be trusted: 95 % confidence intervals.

The images are taken to be a random sample of those that will be seen. For another kind of images no interval says anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["CONFIDENCE", "DRAWS", "Interval", "mean_interval", "share_interval"]

CONFIDENCE = 0.95
DRAWS, _BATCH, _SEED = 2000, 100, 5


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval.

    Attributes:
        low, high: Its ends, in the unit of what was estimated.
        images: How many it rests on.
        confidence: Such as 0.95.
        method: For people.
    """

    low: float
    high: float
    images: int
    confidence: float
    method: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def share_interval(successes: int, images: int) -> Interval:
    """Of a share of images, 0..1, found on ``successes`` of ``images``; the exact binomial (Clopper-Pearson) interval."""
    from scipy.stats import binomtest  # here: the import takes a second

    ends = binomtest(successes, images).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(ends.low), float(ends.high), images, CONFIDENCE, "exact binomial")


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Of the mean of one value per image: a percentile bootstrap over images (seeded: the same values, the same interval).

    On few images it is narrower than it should be. None for fewer than two.
    """
    from scipy.stats import bootstrap

    images = len(values)
    if images < 2:
        return None
    ends = bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        n_resamples=DRAWS,
        batch=_BATCH,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    method = f"percentile bootstrap over images, {DRAWS} draws"
    return Interval(float(ends.low), float(ends.high), images, CONFIDENCE, method)
