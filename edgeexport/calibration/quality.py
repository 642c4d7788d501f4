"""How good a SegViT is with given counts: mIoU on labelled images, or how far it agrees with itself left dense.

Every image is run by itself, as the exported graph would run it. What an image gave is kept by counts, in memory and in a
file, so that no search runs anything twice, however often it was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.interval import AGREEMENT, MIOU, Interval, drop_interval
from edgeexport.errors import UsageError
from edgeexport.evaluation.areas import Areas, SegmentationScores, areas_of, scores_from_areas
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.evaluation.forms import FixedForm
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.pictures.label_map import resized_class_map
from edgeexport.recipe.schema import Recipe

__all__ = ["CANDIDATES_SCHEMA", "CandidateQuality", "ImageSource"]

CANDIDATES_SCHEMA = "edgeexport.candidates/1"
"""Of the file that `CandidateQuality` keeps its results in."""

_DENSE = Counts()


class ImageSource(Protocol):
    """The same images at every pass, decoded as they are needed; `image_passes.UsableImages` is one."""

    @property
    def expected(self) -> int:
        """How many a pass has, as far as is known."""

    def after(self, done: Container[str]) -> Iterator[LabelledImage]:
        """Those whose names are not in ``done``, in a fixed order."""


class CandidateQuality:
    """Counts -> percent, computed once.

    Args:
        file: Opened with `CANDIDATES_SCHEMA` and with a key that tells weights, images, labels and program; its entries are
            taken up.
        images: What to measure on.
        model: With every auxiliary head that a candidate prunes after, and the policy network where one shares.
        recipe: A SegViT recipe; its own counts and its batch do not matter.
        labelled: Whether to measure against labels, which every image then has.
        on_progress: Called with (what is done, images done, images in all) before the first and after every image.

    Attributes:
        measure: 'mIoU'; or without labels 'agreement', the share of pixels that get the dense model's class.
    """

    def __init__(
        self,
        file: ProgressFile,
        images: ImageSource,
        model: SegVit,
        recipe: Recipe,
        *,
        labelled: bool,
        on_progress: Callable[[str, int, int], None] = lambda task, done, total: None,
    ) -> None:
        self.measure = MIOU if labelled else AGREEMENT
        self._file, self._images, self._model = file, images, model
        self._recipe = replace(recipe, input=replace(recipe.input, batch=1))
        self._classes = recipe.segvit.decode_head.num_classes
        self._on_progress = on_progress
        self._found: dict[Counts, dict[str, Areas]] = {}
        self._complete: set[Counts] = set()
        self._dense_maps: dict[str, NDArray] = {}
        for entry in file.entries():
            if entry["measure"] == self.measure:
                of_counts = self._found.setdefault(Counts.from_dict(entry["counts"]), {})
                of_counts[entry["name"]] = _areas_from_rows(entry["areas"], self._classes)
        self.resumed = sum(map(len, self._found.values()))
        """Images, over all candidates, whose results the file held."""

    def __call__(self, counts: Counts) -> float:
        """Quality in percent.

        Raises:
            UsageError: No image can be used, none has a labelled pixel, or the file cannot be written.
            RecipeError: The counts do not fit the model.
        """
        scores = self.scores(counts)
        quality = scores.miou if self.measure == MIOU else scores.pixel_accuracy
        if math.isnan(quality):
            raise UsageError(
                "--data", "no pixel of any image has a label", "check that 255 is not all that is labelled"
            )
        return quality

    def scores(self, counts: Counts) -> SegmentationScores:
        """All scores; without labels the dense model's class map stands in for them. Raises as a call does."""
        return scores_from_areas(sum(self.areas(counts).values(), Areas.zero(self._classes)))

    def areas(self, counts: Counts) -> Mapping[str, Areas]:
        """Image name -> areas, in the order of the images. Raises as a call does."""
        found = self._found.setdefault(counts, {})
        if counts not in self._complete:
            self._measure(counts, found)
            self._complete.add(counts)
        return found

    def loss_interval(self, counts: Counts) -> Interval | None:
        """95 % confidence interval of how many points ``counts`` lose against the dense model; see `drop_interval`.

        Raises:
            UsageError: The images of the two differ, or as a call does.
        """
        dense, candidate = self.areas(_DENSE), self.areas(counts)
        if dense.keys() != candidate.keys():
            raise UsageError(
                "--data", "images appeared, went or broke while they were measured", "begin anew with --restart"
            )
        return drop_interval(list(dense.values()), [candidate[name] for name in dense], self.measure)

    def _measure(self, counts: Counts, found: dict[str, Areas]) -> None:
        form = self._form(counts)
        dense = form if counts == _DENSE or self.measure == MIOU else self._form(_DENSE)
        task = f"measure candidate {len(self._complete) + 1}"
        self._on_progress(task, len(found), self._images.expected)
        for image in self._images.after(set(found)):
            class_map = form.run([image.photo])[0].class_map
            if self.measure == MIOU:
                assert image.label is not None, image.name
                areas = areas_of(resized_class_map(class_map, *image.label.shape), image.label, self._classes)
            else:
                if counts == _DENSE:
                    self._dense_maps[image.name] = class_map.astype(np.uint16)
                areas = areas_of(class_map, self._dense_map(image, dense), self._classes)
            rows = {"measure": self.measure, "counts": counts.as_dict(), "name": image.name, "areas": _rows(areas)}
            self._file.append([rows])
            found[image.name] = areas
            self._on_progress(task, len(found), self._images.expected)

    def _form(self, counts: Counts) -> FixedForm:
        return FixedForm(self._model, recipe_with_counts(self._recipe, counts))

    def _dense_map(self, image: LabelledImage, dense: FixedForm) -> NDArray[np.int64]:
        if image.name not in self._dense_maps:
            self._dense_maps[image.name] = dense.run([image.photo])[0].class_map.astype(np.uint16)
        return self._dense_maps[image.name].astype(np.int64)


def _rows(areas: Areas) -> list[list[int]]:
    """[class, intersect, prediction, label] of every class that occurs; the union follows."""
    occurs = np.flatnonzero(areas.union)
    table = np.stack([occurs, areas.intersect[occurs], areas.prediction[occurs], areas.label[occurs]], axis=1)
    return table.tolist()


def _areas_from_rows(rows: Any, num_classes: int) -> Areas:
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    intersect, prediction, label = (np.zeros(num_classes, dtype=np.int64) for _ in range(3))
    for column, values in enumerate((intersect, prediction, label), start=1):
        values[table[:, 0]] = table[:, column]
    return Areas(intersect, prediction + label - intersect, prediction, label)
