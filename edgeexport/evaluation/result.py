"""The result of an evaluation: scores, tokens and work of every form that was run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.evaluation.areas import Areas, SegmentationScores, scores_from_areas
from edgeexport.evaluation.dataset import LeftOut

__all__ = ["SCHEMA", "Evaluation", "FormScores", "FormTotals", "form_scores"]

SCHEMA = "edgeexport.evaluation/1"
CONVENTIONS = {
    "scores": "mmsegmentation's IoUMetric in percent; class maps are brought to the label's size by nearest neighbour",
    "tokens": "patch tokens that a block works on, mean over the images",
    "macs": "multiply-accumulates per image, mean over the images, policy network included (convention: tokens.json)",
}
_PERCENT_DIGITS, _TOKEN_DIGITS = 4, 3


@dataclass
class FormTotals:
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

    def add(self, areas: Areas, tokens: tuple[int, ...], macs: int) -> None:
        """One image more."""
        self.areas += areas
        self.tokens = [a + b for a, b in zip(self.tokens or [0] * len(tokens), tokens, strict=True)]
        self.macs += macs
        self.images += 1


@dataclass(frozen=True)
class FormScores:
    """What one form reached. Token and work figures are means over the images.

    Attributes:
        scores: In percent.
        tokens_per_block: Patch tokens that each executed block works on.
        macs_mean: Multiply-accumulates per image, policy network included.
        images: How many.
        settings: Of the form, such as its thresholds.
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
    """A subject's accuracy on a data set.

    Attributes:
        subject: Name of the bundle's folder or of the recipe.
        kind: 'bundle' or 'recipe'.
        recipe: Name of the recipe.
        weights: Where they come from.
        data: The folder, as given.
        split: Of it, or None.
        data_sha256: Over names and contents of all samples.
        reduce_zero_label: Whether 0 meant "no class".
        classes: Names, by number.
        form: The primary form.
        forms: Name -> what it reached; all on the same images.
        not_run: Name -> why.
        left_out: What of the data was not used.
        versions: Package -> version.
        file: evaluation.json.
    """

    subject: str
    kind: str
    recipe: str
    weights: Mapping[str, Any]
    data: Path
    split: str | None
    data_sha256: str
    reduce_zero_label: bool
    classes: tuple[str, ...]
    form: str
    forms: Mapping[str, FormScores]
    not_run: Mapping[str, str]
    left_out: tuple[LeftOut, ...]
    versions: Mapping[str, str]
    file: Path

    @property
    def primary(self) -> FormScores:
        """What the primary form reached."""
        return self.forms[self.form]

    @property
    def random_weights(self) -> bool:
        """Whether the figures mean nothing because the weights were drawn at random."""
        return self.weights["origin"] == "random"

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form; the top level has the primary form's figures."""
        return {
            "schema": SCHEMA,
            "provenance": "measured",
            "conventions": CONVENTIONS,
            "subject": self.subject,
            "kind": self.kind,
            "recipe": self.recipe,
            "weights": dict(self.weights),
            "data": str(self.data),
            "split": self.split,
            "data_sha256": self.data_sha256,
            "reduce_zero_label": self.reduce_zero_label,
            "form": self.form,
            **self.primary.as_dict(self.classes),
            "left_out": [item.as_dict() for item in self.left_out],
            "forms": {name: found.as_dict(self.classes) for name, found in self.forms.items()},
            "not_run": dict(self.not_run),
            "versions": dict(self.versions),
        }


def form_scores(totals: FormTotals, settings: Mapping[str, object]) -> FormScores:
    """Means and scores of sums over at least one image."""
    count = totals.images
    tokens = tuple(total / count for total in totals.tokens)
    return FormScores(scores_from_areas(totals.areas), tokens, totals.macs / count, count, settings)


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else round(value, _PERCENT_DIGITS)
