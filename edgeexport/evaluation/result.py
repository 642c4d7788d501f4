"""The result of an evaluation: scores, tokens and work of every execution of a segmenter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.evaluation.areas import Areas, SegmentationScores, scores_from_areas
from edgeexport.evaluation.dataset import LeftOut

__all__ = ["SCHEMA", "Evaluation", "ExecutionScores", "ExecutionTotals", "scores_from_totals"]

SCHEMA = "edgeexport.evaluation/1"
CONVENTIONS = {
    "scores": "mmsegmentation's IoUMetric in percent; class maps are brought to the label's size by nearest neighbour",
    "tokens": "patch tokens that a block works on, mean over the images",
    "macs": "multiply-accumulates per image, mean over the images, policy network included (convention: tokens.json)",
}
_PERCENT_DIGITS, _TOKEN_DIGITS = 4, 3


@dataclass
class ExecutionTotals:
    """Sums over the images so far, all whole numbers: the order of images does not matter.

    Attributes:
        areas: Of the class maps against the labels.
        tokens: Per executed block.
        macs: Multiply-accumulates.
        images: How many were added.
    """

    areas: Areas
    tokens: list[int]
    macs: int = 0
    images: int = 0

    def add(self, areas: Areas, tokens: Sequence[int], macs: int) -> None:
        """One image more."""
        self.areas += areas
        self.tokens = [a + b for a, b in zip(self.tokens or [0] * len(tokens), tokens, strict=True)]
        self.macs += macs
        self.images += 1


@dataclass(frozen=True)
class ExecutionScores:
    """What one execution reached. Token and work figures are means over the images.

    Attributes:
        scores: In percent.
        tokens_per_block: Patch tokens that each executed block works on.
        macs_mean: Multiply-accumulates per image, policy network included.
        images: How many.
        settings: Of the execution, such as its thresholds.
    """

    scores: SegmentationScores
    tokens_per_block: tuple[float, ...]
    macs_mean: float
    images: int
    settings: Mapping[str, object]

    @property
    def tokens_mean(self) -> float:
        """Mean over blocks and images."""
        return sum(self.tokens_per_block) / len(self.tokens_per_block)

    def as_dict(self, classes: tuple[str, ...]) -> dict[str, object]:
        """JSON-ready form; None stands for what no pixel tells."""
        per_class = zip(classes, self.scores.per_class_iou, strict=True)
        return {
            "miou": _percent(self.scores.miou),
            "pixel_accuracy": _percent(self.scores.pixel_accuracy),
            "mean_accuracy": _percent(self.scores.mean_accuracy),
            "per_class_iou": {name: None if value is None else _percent(value) for name, value in per_class},
            "tokens_mean": round(self.tokens_mean, _TOKEN_DIGITS),
            "tokens_per_block": [round(count, _TOKEN_DIGITS) for count in self.tokens_per_block],
            "macs_mean": round(self.macs_mean),
            "images": self.images,
            "settings": dict(self.settings),
        }


@dataclass(frozen=True)
class Evaluation:
    """A segmenter's accuracy on a data set.

    Attributes:
        name: Of the bundle's folder or of the recipe.
        kind: 'bundle' or 'recipe'.
        recipe: Name of the recipe.
        weights: Where they come from.
        data: The folder, as given.
        split: Of it, or None.
        data_sha256: Over names and contents of all samples.
        reduce_zero_label: Whether 0 meant "no class".
        classes: Names, by number.
        primary_name: The execution whose figures stand for the segmenter.
        executions: Name -> what it reached; all on the same images.
        not_run: Name -> why.
        left_out: What of the data was not used.
        versions: Package -> version.
        file: evaluation.json.
    """

    name: str
    kind: str
    recipe: str
    weights: Mapping[str, Any]
    data: Path
    split: str | None
    data_sha256: str
    reduce_zero_label: bool
    classes: tuple[str, ...]
    primary_name: str
    executions: Mapping[str, ExecutionScores]
    not_run: Mapping[str, str]
    left_out: tuple[LeftOut, ...]
    versions: Mapping[str, str]
    file: Path

    @property
    def primary(self) -> ExecutionScores:
        """What the primary execution reached."""
        return self.executions[self.primary_name]

    @property
    def random_weights(self) -> bool:
        """Whether the figures mean nothing because the weights were drawn at random."""
        return self.weights["origin"] == "random"

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form; the top level has the primary execution's figures."""
        return {
            "schema": SCHEMA,
            "provenance": "measured",
            "conventions": CONVENTIONS,
            "subject": self.name,
            "kind": self.kind,
            "recipe": self.recipe,
            "weights": dict(self.weights),
            "data": str(self.data),
            "split": self.split,
            "data_sha256": self.data_sha256,
            "reduce_zero_label": self.reduce_zero_label,
            "form": self.primary_name,
            **self.primary.as_dict(self.classes),
            "left_out": [item.as_dict() for item in self.left_out],
            "forms": {name: reached.as_dict(self.classes) for name, reached in self.executions.items()},
            "not_run": dict(self.not_run),
            "versions": dict(self.versions),
        }


def scores_from_totals(totals: ExecutionTotals, settings: Mapping[str, object]) -> ExecutionScores:
    """Means and scores of sums over at least one image."""
    count = totals.images
    tokens = tuple(total / count for total in totals.tokens)
    return ExecutionScores(scores_from_areas(totals.areas), tokens, totals.macs / count, count, settings)


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else round(value, _PERCENT_DIGITS)
