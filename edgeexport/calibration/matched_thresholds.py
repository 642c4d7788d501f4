"""From fixed counts back to thresholds that prune as many tokens on average, to compare both rules fairly.

Theta divides the confidences of all images together where their mean count is k: an order statistic of the pooled tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation

__all__ = ["ObservePublished", "matched_thresholds", "threshold_for_mean_count"]

ObservePublished = Callable[[Mapping[int, float]], Sequence[ImageObservation]]
"""Thresholds of the blocks to observe -> observations of all images."""


def matched_thresholds(observe: ObservePublished, counts: Counts) -> dict[int, float]:
    """Block -> the threshold that prunes k tokens on average over the images, for every stage of ``counts``.

    In order of depth: each is chosen with the stages before it pruned by their own matched thresholds.

    Args:
        observe: Usually a list of `edgeexport.calibration.observations.observe_published`; the number of shared windows is
            the recipe's, not that of ``counts``.
        counts: What a fixed form prunes.
    """
    thresholds: dict[int, float] = {}
    for block, k in counts.prune:
        stages = [image.stage(block) for image in observe({**thresholds, block: math.inf})]
        thresholds[block] = threshold_for_mean_count(stages, k)
    return thresholds


def threshold_for_mean_count(stages: Sequence[StageObservation], k: int) -> float:
    """A threshold, itself a float32 value, at which the mean over images of `StageObservation.prunable` is nearest to k.

    Halfway between the pooled confidences of ranks n k and n k + 1 of n images. Where these are equal, all of the equal ones
    leave or none, whichever is nearer (none at equal distance); where fewer tokens are unprotected, all of them leave.

    Args:
        stages: One stage of at least one image.
        k: At least 1.
    """
    pooled = np.sort(np.concatenate([stage.confidence for stage in stages]))[::-1]
    rank = len(stages) * k
    if len(pooled) <= rank:
        return float(np.nextafter(pooled[-1], np.float32(-1))) if len(pooled) else 0.0
    upper, lower = pooled[rank - 1], pooled[rank]
    if lower < upper:
        middle = np.float32((float(upper) + float(lower)) / 2)
        # Between adjacent floats the middle may round up to the upper one, which then would stay.
        return float(middle if middle < upper else lower)
    above, reached = int((pooled > upper).sum()), int((pooled >= upper).sum())
    return float(upper if rank - above <= reached - rank else np.nextafter(upper, np.float32(-1)))
