"""The adaptive form measured beside the fixed one: at the recipe's thresholds, and at those of equal mean tokens.

That is what fixing the counts gives up: both run the same model on the same images, and only the rule differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.image_passes import OnProgress, UsableImages
from edgeexport.calibration.interval import Interval, drop_interval
from edgeexport.evaluation.areas import Areas, areas_of, scores_from_areas
from edgeexport.evaluation.forms import AdaptiveForm
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.pictures.label_map import resized_class_map
from edgeexport.recipe.schema import Recipe

__all__ = ["ADAPTIVE_SCHEMA", "AdaptiveMeasurement", "ThresholdForm", "measure_threshold_form"]

ADAPTIVE_SCHEMA = "edgeexport.adaptive/1"


@dataclass(frozen=True)
class ThresholdForm:
    """A model that prunes by threshold, measured.

    Attributes:
        num_shared: S.
        thresholds: Block -> theta.
        tokens: Mean over images of the tokens that enter each executed block.
        macs: Mean over images.
        quality: mIoU in percent.
        gain: Interval of the points that it is above the fixed form it stands beside; None where it stands beside none.
    """

    num_shared: int
    thresholds: Mapping[int, float]
    tokens: tuple[float, ...]
    macs: float
    quality: float
    gain: Interval | None = None

    @property
    def tokens_mean(self) -> float:
        """Tokens that enter a block, mean over blocks and images."""
        return sum(self.tokens) / len(self.tokens)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "num_shared": self.num_shared,
            "thresholds": {str(block): theta for block, theta in self.thresholds.items()},
            "tokens_per_block": [round(count, 3) for count in self.tokens],
            "tokens_mean": round(self.tokens_mean, 3),
            "macs_mean": self.macs,
            "quality": self.quality,
            "gain_interval": None if self.gain is None else self.gain.as_dict(),
        }


@dataclass(frozen=True)
class AdaptiveMeasurement:
    """What an `AdaptiveForm` gave for every image."""

    areas: Mapping[str, Areas]
    tokens: tuple[float, ...]
    macs: float

    def form(
        self, num_shared: int, thresholds: Mapping[int, float], fixed: Mapping[str, Areas] | None
    ) -> ThresholdForm:
        """With its quality, and the interval above ``fixed`` where that is given."""
        total = sum(self.areas.values(), Areas.zero(len(next(iter(self.areas.values())).label)))
        gain = None if fixed is None else drop_interval(list(self.areas.values()), [fixed[name] for name in self.areas])
        return ThresholdForm(num_shared, dict(thresholds), self.tokens, self.macs, scores_from_areas(total).miou, gain)


def measure_threshold_form(
    file: ProgressFile,
    images: UsableImages,
    model: SegVit,
    recipe: Recipe,
    num_shared: int,
    thresholds: Mapping[int, float],
    on_progress: OnProgress = lambda done, total, task: None,
) -> AdaptiveMeasurement:
    """Runs the adaptive form over labelled images; what the file holds is not run again.

    Args:
        file: Of schema `ADAPTIVE_SCHEMA`.
        images: Labelled.
        model: With the heads and the policy network that the form needs.
        recipe: A SegViT recipe.
        num_shared: S.
        thresholds: Block -> theta; at least one.
        on_progress: Called before the first and after every image.
    """
    classes = recipe.segvit.decode_head.num_classes
    limits = {str(block): theta for block, theta in sorted(thresholds.items())}
    found = {
        entry["name"]: entry
        for entry in file.entries()
        if entry["num_shared"] == num_shared and entry["thresholds"] == limits
    }
    counts = Counts(
        num_shared, tuple((block, 1) for block in sorted(thresholds))
    )  # which stages there are; not how many leave
    form = AdaptiveForm(model, recipe_with_counts(recipe, counts), thresholds)
    task = "measure the adaptive form"
    on_progress(len(found), images.expected, task)
    for image in images.after(set(found)):
        assert image.label is not None
        result = form.run([image.photo])[0]
        areas = areas_of(resized_class_map(result.class_map, *image.label.shape), image.label, classes)
        entry = {
            "name": image.name,
            "num_shared": num_shared,
            "thresholds": limits,
            "tokens": list(result.tokens),
            "macs": result.macs,
            "areas": [areas.intersect.tolist(), areas.prediction.tolist(), areas.label.tolist()],
        }
        file.append([entry])
        found[image.name] = entry
        on_progress(len(found), images.expected, task)
    entries = [found[sample.name] for sample in images.folder.samples if sample.name in found]
    return AdaptiveMeasurement(
        areas={entry["name"]: _areas(entry["areas"]) for entry in entries},
        tokens=tuple(np.mean([entry["tokens"] for entry in entries], axis=0).tolist()),
        macs=float(np.mean([entry["macs"] for entry in entries])),
    )


def _areas(rows: list[list[int]]) -> Areas:
    intersect, prediction, label = (np.array(row, dtype=np.int64) for row in rows)
    return Areas(intersect, prediction + label - intersect, prediction, label)
