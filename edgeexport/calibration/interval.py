"""What a candidate loses against the dense model, with its 95 % confidence interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeexport.evaluation.areas import Areas
from edgeexport.evaluation.interval import CONFIDENCE, DRAWS, Interval

__all__ = ["AGREEMENT", "MIOU", "drop_interval"]

MIOU, AGREEMENT = "mIoU", "agreement"
"""What a quality measures; see `edgeexport.calibration.quality`."""

_BATCH, _SEED = 200, 5


def drop_interval(dense: Sequence[Areas], candidate: Sequence[Areas], measure: str = MIOU) -> Interval | None:
    """Of what a candidate loses against the dense model, in percentage points; negative where it is better.

    A paired bootstrap: images are drawn with replacement, each with the areas of both models, and the percentiles of the
    losses over the draws are the interval (seeded: the same areas give the same interval). On few images, or where a class
    is rare, it is narrower than it should be.

    Args:
        dense: Areas per image.
        candidate: Areas of the same images.
        measure: `MIOU`, or `AGREEMENT` (pixel accuracy of areas whose label is the dense model's class map).

    Returns:
        None for fewer than two images, which tell nothing of how images differ.
    """
    from scipy.stats import bootstrap

    if len(dense) != len(candidate):
        raise ValueError(f"{len(dense)} images of the dense model, {len(candidate)} of the candidate")
    images = len(dense)
    if images < 2:
        return None
    tables = [_table(dense), _table(candidate)]

    def loss(drawn: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        """Image numbers (..., images) -> (...)."""
        rows = drawn.reshape(-1, images)
        times = np.zeros((len(rows), images))
        np.add.at(times, (np.arange(len(rows))[:, None], rows), 1)
        first, second = (_quality(np.tensordot(times, table, axes=1), measure) for table in tables)
        return (first - second).reshape(drawn.shape[:-1])

    ends = bootstrap(
        (np.arange(images),),
        loss,
        n_resamples=DRAWS,
        batch=_BATCH,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    method = f"paired percentile bootstrap over images, {DRAWS} draws"
    return Interval(float(ends.low), float(ends.high), images, CONFIDENCE, method)


def _table(areas: Sequence[Areas]) -> NDArray[np.float64]:
    """(images, 3, K): intersect, union, label."""
    return np.array([[item.intersect, item.union, item.label] for item in areas], dtype=np.float64)


def _quality(total: NDArray[np.float64], measure: str) -> NDArray[np.float64]:
    """(draws, 3, K) -> percent (draws,), as `edgeexport.evaluation.areas.scores_from_areas` has it."""
    intersect, union, label = total[:, 0], total[:, 1], total[:, 2]
    if measure == AGREEMENT:
        return 100 * intersect.sum(axis=1) / np.maximum(label.sum(axis=1), 1)
    occurs = union > 0
    iou = np.where(occurs, intersect / np.where(occurs, union, 1), 0)
    return 100 * iou.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)
