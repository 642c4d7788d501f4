"""How often a pruning stage lets go of a token whose class is wrong, by a fixed count and by the published threshold.

A pruned token keeps the masks of the head at which it left, so a wrong class there can no longer be mended by later blocks.
Both rules are judged on the same tokens, and also where they prune equally many on average: what remains between them
is what deciding image by image is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeexport.calibration.matched_thresholds import threshold_for_mean_count
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation

__all__ = ["ExitEvidence", "ExitPoint", "exit_evidence"]

_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995)
_COUNTS = 16


@dataclass(frozen=True)
class ExitPoint:
    """What one setting of a rule prunes over all images.

    Attributes:
        setting: k of the fixed rule, theta of the published one.
        pruned: Tokens that leave, of all images together.
        wrong: Those of them whose class was wrong at the exit.
        images: Images.
    """

    setting: float
    pruned: int
    wrong: int
    images: int

    @property
    def mean_count(self) -> float:
        """Tokens that leave per image."""
        return self.pruned / self.images

    @property
    def wrong_share(self) -> float | None:
        """Of the tokens that leave, 0..1; None where none leaves."""
        return self.wrong / self.pruned if self.pruned else None

    def as_dict(self, setting: str) -> dict[str, Any]:
        """JSON-ready form; ``setting`` names the rule's: 'k' or 'theta'."""
        share = self.wrong_share
        return {
            setting: self.setting,
            "mean_count": round(self.mean_count, 4),
            "pruned": self.pruned,
            "wrong": self.wrong,
            "wrong_share": None if share is None else round(share, 6),
        }


@dataclass(frozen=True)
class ExitEvidence:
    """The decision of one stage under both rules.

    Attributes:
        block: 1-based.
        images: Labelled images it rests on.
        tokens: Tokens that entered the stage, of all images together.
        wrong: Those of them whose class was wrong at the exit, pruned or not.
        fixed: Per k, ascending.
        published: Per theta, ascending.
        equal_mean: Parallel to ``fixed``: the published rule at the threshold that prunes k tokens on average.
    """

    block: int
    images: int
    tokens: int
    wrong: int
    fixed: tuple[ExitPoint, ...]
    published: tuple[ExitPoint, ...]
    equal_mean: tuple[ExitPoint, ...]

    def fixed_at(self, k: int) -> ExitPoint:
        """The fixed rule at a count of the grid.

        Raises:
            KeyError: ``k`` is not in it.
        """
        return _at(self.fixed, k)

    def published_at(self, theta: float) -> ExitPoint:
        """The published rule at a threshold of the grid.

        Raises:
            KeyError: ``theta`` is not in it.
        """
        return _at(self.published, theta)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "block": self.block,
            "images": self.images,
            "tokens": self.tokens,
            "wrong": self.wrong,
            "wrong_share": round(self.wrong / self.tokens, 6),
            "fixed": [point.as_dict("k") for point in self.fixed],
            "adaptive": [point.as_dict("theta") for point in self.published],
            "adaptive_at_equal_mean": [point.as_dict("theta") for point in self.equal_mean],
        }


def exit_evidence(
    observations: Sequence[ImageObservation],
    block: int,
    *,
    counts: Iterable[int] = (),
    thresholds: Iterable[float] = (),
) -> ExitEvidence | None:
    """Both rules at the stage after ``block``, over a grid of counts and of thresholds.

    Args:
        observations: Images in which the stage was observed; those without labels are left out.
        block: The stage.
        counts: Further k for the grid, such as the chosen one. Counts that leave no token in some image are left out.
        thresholds: Further theta for the grid, such as the recipe's.

    Returns:
        None where no image has labels.

    Raises:
        KeyError: The stage was not observed.
    """
    stages = [stage for stage in (image.stage(block) for image in observations) if stage.wrong is not None]
    if not stages:
        return None
    most = min(stage.tokens for stage in stages) - 1
    grid = {round(most * step / _COUNTS) for step in range(1, _COUNTS + 1)} | set(counts)
    fixed_counts = sorted(k for k in grid if 1 <= k <= most)
    wrong = [_wrong_after(stage) for stage in stages]
    return ExitEvidence(
        block=block,
        images=len(stages),
        tokens=sum(stage.tokens for stage in stages),
        wrong=sum(int(row[-1]) for row in wrong),
        fixed=tuple(_point(k, wrong, [k] * len(stages)) for k in fixed_counts),
        published=tuple(_published(stages, wrong, theta) for theta in sorted({*_THRESHOLDS, *thresholds})),
        equal_mean=tuple(_published(stages, wrong, threshold_for_mean_count(stages, k)) for k in fixed_counts),
    )


def _wrong_after(stage: StageObservation) -> np.ndarray:
    """int64 (tokens + 1,): wrong ones among the first 0, 1, 2, ... tokens to leave; protected tokens are the last to."""
    assert stage.wrong is not None and stage.protected_wrong is not None
    return np.concatenate([[0], np.cumsum(np.concatenate([stage.wrong, stage.protected_wrong]))])


def _published(stages: Sequence[StageObservation], wrong: Sequence[np.ndarray], theta: float) -> ExitPoint:
    return _point(theta, wrong, [stage.prunable(theta) for stage in stages])


def _point(setting: float, wrong: Sequence[np.ndarray], pruned: Sequence[int]) -> ExitPoint:
    total = sum(int(row[count]) for row, count in zip(wrong, pruned, strict=True))
    return ExitPoint(setting, sum(pruned), total, len(wrong))


def _at(points: Sequence[ExitPoint], setting: float) -> ExitPoint:
    for point in points:
        if point.setting == setting:
            return point
    raise KeyError(setting)
