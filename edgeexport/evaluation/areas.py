"""Intersections and unions of class maps with labels, and the scores they give: mmsegmentation's metric.

The counting and the formulas are `mmseg.evaluation.IoUMetric`'s own functions. Counts are kept as whole numbers, so that
they add up exactly over any number of images, in any order and over interruptions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from edgeexport.config.mmsegmentation import mmsegmentation
from edgeexport.evaluation.annotation import ignored_label
from edgeexport.pictures.label_map import resized_class_map

__all__ = ["Areas", "SegmentationScores", "areas_of", "scores_from_areas"]

_COUNTABLE_PIXELS = 2**24  # mmseg counts in float32, which stops there: larger images are counted in strips


@dataclass(frozen=True)
class Areas:
    """Pixels by class, each int64 (K,): predicted rightly, predicted or labelled, predicted, labelled."""

    intersect: NDArray[np.int64]
    union: NDArray[np.int64]
    prediction: NDArray[np.int64]
    label: NDArray[np.int64]

    @staticmethod
    def of(intersect: ArrayLike, prediction: ArrayLike, label: ArrayLike) -> Areas:
        """From the counts that the union follows from."""
        right, predicted, labelled = (np.asarray(count, dtype=np.int64) for count in (intersect, prediction, label))
        return Areas(right, predicted + labelled - right, predicted, labelled)

    @staticmethod
    def zero(num_classes: int) -> Areas:
        """Areas of no image."""
        nothing = np.zeros(num_classes, dtype=np.int64)
        return Areas(nothing, nothing, nothing, nothing)

    def rows(self) -> list[list[int]]:
        """JSON-ready form: [class, intersect, prediction, label] of every class that occurs."""
        occurs = np.flatnonzero(self.union)
        columns = [occurs, self.intersect[occurs], self.prediction[occurs], self.label[occurs]]
        return np.stack(columns, axis=1).tolist()

    @staticmethod
    def from_rows(rows: list[list[int]], num_classes: int) -> Areas:
        """The inverse of `rows`."""
        table = np.zeros((3, num_classes), dtype=np.int64)
        for number, *counts in rows:
            table[:, number] = counts
        return Areas.of(*table)

    def __add__(self, other: Areas) -> Areas:
        return Areas(
            self.intersect + other.intersect,
            self.union + other.union,
            self.prediction + other.prediction,
            self.label + other.label,
        )


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in percent (0..100).

    Attributes:
        miou: Mean of the IoU of all classes that occur.
        pixel_accuracy: Share of labelled pixels with the right class (mmseg's aAcc).
        mean_accuracy: Mean over labelled classes of the share of their pixels that are found (mAcc).
        per_class_iou: One entry per class; None for a class that is neither in a label nor in a prediction.

    All three means are NaN where no pixel is labelled.
    """

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    per_class_iou: tuple[float | None, ...]


def areas_of(class_map: NDArray, label: NDArray[np.int64], num_classes: int) -> Areas:
    """Areas of one image, at the size of its label.

    Args:
        class_map: int (h, w), 0..K-1; brought to the label's size by nearest neighbour.
        label: int64 (H, W), 0..K-1, or `ignored_label` where the pixel counts for nothing.
        num_classes: K.
    """
    metric = mmsegmentation("mmseg.evaluation").IoUMetric
    resized = resized_class_map(class_map, *label.shape)
    prediction = torch.from_numpy(np.ascontiguousarray(resized, dtype=np.int64))
    target = torch.from_numpy(np.ascontiguousarray(label, dtype=np.int64))
    rows = max(1, _COUNTABLE_PIXELS // label.shape[1])
    total = Areas.zero(num_classes)
    for part, expected in zip(prediction.split(rows), target.split(rows), strict=True):
        counts = metric.intersect_and_union(part, expected, num_classes, ignored_label(num_classes))
        total += Areas(*(count.to(torch.int64).numpy() for count in counts))
    return total


def scores_from_areas(total: Areas) -> SegmentationScores:
    """Scores of summed areas, in double precision."""
    metric = mmsegmentation("mmseg.evaluation").IoUMetric
    areas = (total.intersect, total.union, total.prediction, total.label)
    metrics = metric.total_area_to_metrics(*(torch.from_numpy(counts).to(torch.float64) for counts in areas))
    iou = np.asarray(metrics["IoU"]) * 100
    return SegmentationScores(
        miou=_mean(iou),
        pixel_accuracy=float(metrics["aAcc"]) * 100,
        mean_accuracy=_mean(np.asarray(metrics["Acc"]) * 100),
        per_class_iou=tuple(None if np.isnan(value) else float(value) for value in iou),
    )


def _mean(values: NDArray) -> float:
    """Over the classes that have a value; NaN without numpy's warning where none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
