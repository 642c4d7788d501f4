"""The published computation measured beside the fixed one: at the recipe's thresholds, and at those of equal mean tokens.

That is what fixing the counts gives up: both run the same model on the same images, and only the rule differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.images import SegmenterOnImages
from edgeexport.calibration.interval import drop_interval
from edgeexport.calibration.kept_results import KeptResults
from edgeexport.documents.progress import published
from edgeexport.evaluation.areas import Areas, areas_of, scores_from_areas
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.evaluation.executions import PublishedExecution
from edgeexport.evaluation.image_macs import ImageCost
from edgeexport.evaluation.interval import Interval
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.evaluation.segmenter_spec import class_count

__all__ = ["PUBLISHED_SCHEMA", "PublishedFigures", "PublishedQuality"]

PUBLISHED_SCHEMA = "edgeexport.adaptive/2"

_Run = tuple[int, tuple[tuple[int, float], ...]]  # windows shared, and (block, theta) ascending


@dataclass(frozen=True)
class PublishedFigures:
    """A model that prunes by threshold, measured.

    Attributes:
        num_shared: S.
        thresholds: Block -> theta.
        tokens: Mean over images of the tokens that enter each executed block.
        macs: Mean over images.
        quality: mIoU in percent.
        gain: Interval of the points that it is above the fixed model it stands beside; None where it stands beside none.
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


class PublishedQuality:
    """(windows shared, thresholds) -> figures over labelled images; nothing is run twice.

    Args:
        file: Of schema `PUBLISHED_SCHEMA`.
        segmenter: What to measure, on labelled images.
    """

    def __init__(self, file: ProgressFile, segmenter: SegmenterOnImages) -> None:
        self._model, self._recipe = segmenter.model, segmenter.recipe
        self._classes = class_count(segmenter.recipe)
        self._kept: KeptResults[_Run, tuple[ImageCost, Areas]] = KeptResults(
            file, published(self._classes), segmenter, _entry, self._from_entry
        )

    def measure(
        self, num_shared: int, thresholds: Mapping[int, float], beside: Mapping[str, Areas] | None
    ) -> PublishedFigures:
        """Figures with these windows and at least one threshold; and the interval above what gave the areas ``beside``.

        Raises:
            UsageError: No image can be used, or the file cannot be written.
        """
        run = (num_shared, tuple(sorted(thresholds.items())))
        images = self._kept.of(run, "measure the adaptive form", lambda left: self._measured(run, left))
        areas = {name: image_areas for name, (_, image_areas) in images.items()}
        costs = [cost for cost, _ in images.values()]
        gain = None if beside is None else drop_interval(list(areas.values()), [beside[name] for name in areas])
        return PublishedFigures(
            num_shared=num_shared,
            thresholds=dict(thresholds),
            tokens=tuple(np.mean([cost.tokens for cost in costs], axis=0).tolist()),
            macs=float(np.mean([cost.macs for cost in costs])),
            quality=scores_from_areas(sum(areas.values(), Areas.zero(self._classes))).miou,
            gain=gain,
        )

    def _measured(self, run: _Run, images: Iterator[LabelledImage]) -> Iterator[tuple[str, tuple[ImageCost, Areas]]]:
        num_shared, thresholds = run
        stages = tuple((block, 1) for block, _ in thresholds)  # which there are; not how many tokens leave
        recipe = recipe_with_counts(self._recipe, Counts(num_shared, stages))
        execution = PublishedExecution(self._model, recipe, dict(thresholds))
        for image in images:
            assert image.label is not None
            prediction = execution.run([image.photo])[0]
            yield image.name, (prediction.cost, areas_of(prediction.class_map, image.label, self._classes))

    def _from_entry(self, entry: Mapping[str, Any]) -> tuple[_Run, str, tuple[ImageCost, Areas]]:
        run = (entry["num_shared"], tuple((int(block), theta) for block, theta in entry["thresholds"].items()))
        cost = ImageCost(tuple(entry["tokens"]), entry["macs"])
        return run, entry["name"], (cost, Areas.from_rows(entry["areas"], self._classes))


def _entry(run: _Run, name: str, image: tuple[ImageCost, Areas]) -> dict[str, Any]:
    cost, areas = image
    return {
        "name": name,
        "num_shared": run[0],
        "thresholds": {str(block): theta for block, theta in run[1]},
        "tokens": list(cost.tokens),
        "macs": cost.macs,
        "areas": areas.rows(),
    }
