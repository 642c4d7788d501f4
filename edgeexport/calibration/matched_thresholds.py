"""From fixed counts back to thresholds that prune as many tokens on average, to compare both rules fairly. No torch.

Theta divides the confidences of all images together where their mean count is k: an order statistic of the pooled tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation

__all__ = ["MatchedThreshold", "ObserveAdaptive", "matched_thresholds", "threshold_for_mean_count"]

ObserveAdaptive = Callable[[Mapping[int, float]], Sequence[ImageObservation]]
"""Thresholds of the blocks to observe -> observations of all images."""


@dataclass(frozen=True)
class MatchedThreshold:
    """The threshold after ``block`` at which images lose ``k`` tokens on average, and the mean that it does give.

    ``mean`` differs from ``k`` where fewer tokens are unprotected or many are equally confident.
    """

    block: int
    k: int
    theta: float
    mean: float


def matched_thresholds(observe: ObserveAdaptive, counts: Counts) -> tuple[MatchedThreshold, ...]:
    """For every stage of ``counts``, the threshold that prunes k tokens on average over the images.

    In order of depth: each is chosen with the stages before it pruned by their own matched thresholds.

    Args:
        observe: Usually a list of `edgeexport.calibration.observations.observe_adaptive`; the number of shared windows is the
            recipe's, not that of ``counts``.
        counts: What a fixed form prunes.
    """
    matched: list[MatchedThreshold] = []
    for block, k in counts.prune:
        earlier = {stage.block: stage.theta for stage in matched}
        stages = [image.stage(block) for image in observe({**earlier, block: math.inf})]
        theta = threshold_for_mean_count(stages, k)
        mean = sum(stage.prunable(theta) for stage in stages) / len(stages)
        matched.append(MatchedThreshold(block, k, theta, mean))
    return tuple(matched)


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
