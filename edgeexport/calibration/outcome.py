"""Everything that a calibration of counts found, before it is written or printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeexport.calibration.exits import ExitEvidence, ExitPoint
from edgeexport.calibration.proposal import Proposal
from edgeexport.calibration.search import Evaluated, pareto_front
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation
from edgeexport.evaluation.dataset import LeftOut
from edgeexport.recipe.schema import Recipe

__all__ = ["CALIBRATION_SCHEMA", "CalibrationOutcome", "ChosenConstant"]

CALIBRATION_SCHEMA = "edgeexport.calibration/1"
_DECILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class ChosenConstant:
    """One constant: the windows shared (block 0) or the tokens pruned after ``block``.

    Attributes:
        block: 1-based; 0: sharing.
        theta: The threshold that ``available`` was counted with; None where none is known.
        available: Per image, what the published rule would prune or the policy network share there, with the chosen counts
            before it; empty where no threshold is known.
        chosen: The constant found.
        exact: Before alignment, or None.
    """

    block: int
    theta: float | None
    available: tuple[int, ...]
    chosen: int
    exact: int | None

    @property
    def covered(self) -> int:
        """Images that reach the constant."""
        return sum(value >= self.chosen for value in self.available)


@dataclass(frozen=True)
class CalibrationOutcome:
    """What was found, and on what.

    Attributes:
        recipe: As loaded with ``cfg_options``.
        cfg_options: As given.
        weights: `edgeexport.fixed.weights.WeightsOrigin` as a dict.
        data: {'folder', 'split', 'content_sha256', 'labelled', 'limit', 'reduce_zero_label'}.
        left_out: What could not be used.
        thresholds: Block -> theta, where one is known.
        proposal: What is proposed.
        published: Every image, pruned by threshold.
        fixed: Every image, pruned by the counts found.
        constants: In order of depth.
        evaluated: Every set of counts whose quality was measured.
        exits: Per stage that was observed; empty without labels.
        limit: ('cost' or 'quality', value), or None.
        details: What else the method has to show.
    """

    recipe: Recipe
    cfg_options: tuple[str, ...]
    weights: Mapping[str, Any]
    data: Mapping[str, Any]
    left_out: tuple[LeftOut, ...]
    thresholds: Mapping[int, float]
    proposal: Proposal
    published: tuple[ImageObservation, ...]
    fixed: tuple[ImageObservation, ...]
    constants: tuple[ChosenConstant, ...]
    evaluated: tuple[Evaluated, ...]
    exits: tuple[ExitEvidence, ...]
    limit: tuple[str, float] | None
    details: Mapping[str, Any]

    @property
    def random_weights(self) -> bool:
        """Whether the weights were drawn, so that nothing here tells of a trained model."""
        return self.weights["origin"] == "random"

    def exit_points(self, block: int) -> tuple[ExitPoint, ExitPoint] | None:
        """At the stage after ``block``: the chosen k, and the threshold of equal mean; None without labels, or where nothing
        is pruned there."""
        chosen = self.proposal.chosen.counts.pruned_after(block)
        for evidence in self.exits:
            if evidence.block == block and chosen:
                fixed = evidence.fixed_at(chosen)
                return fixed, evidence.equal_mean[evidence.fixed.index(fixed)]
        return None

    def as_dict(self) -> dict[str, Any]:
        """calibration.json, without the list of files."""
        return {
            "schema": CALIBRATION_SCHEMA,
            "provenance": "measured",
            "recipe": self.recipe.name,
            "cfg_options": list(self.cfg_options),
            "weights": dict(self.weights),
            "data": dict(self.data),
            "left_out": [item.as_dict() for item in self.left_out],
            "thresholds": {str(block): theta for block, theta in self.thresholds.items()},
            "proposal": self.proposal.as_dict(),
            "evaluated": [_candidate(item) for item in self.evaluated],
            "pareto": [_candidate(item) for item in pareto_front(self.evaluated)],
            "exits": [item.as_dict() for item in self.exits],
            "details": dict(self.details),
            "observations": {
                "adaptive": [self._image(item) for item in self.published],
                "fixed": [self._image(item) for item in self.fixed],
            },
        }

    def _image(self, image: ImageObservation) -> dict[str, Any]:
        """An observation with its confidences as quantiles; observations.jsonl has every one."""
        stages = [self._stage(stage) for stage in image.stages]
        return {"name": image.name, "shareable": image.shareable, "uniform": image.uniform, "stages": stages}

    def _stage(self, stage: StageObservation) -> dict[str, Any]:
        theta, confidence = self.thresholds.get(stage.block), stage.confidence
        quantiles = {f"{share:g}": float(np.quantile(confidence, share)) for share in _DECILES if len(confidence)}
        return {
            "block": stage.block,
            "tokens": stage.tokens,
            "protected": stage.protected,
            "prunable": None if theta is None else stage.prunable(theta),
            "confidence_quantiles": {share: round(value, 5) for share, value in quantiles.items()},
        }


def _candidate(item: Evaluated) -> dict[str, Any]:
    return {**item.counts.as_dict(), "cost": item.cost, "quality": item.quality}
