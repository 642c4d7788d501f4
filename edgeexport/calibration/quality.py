"""How good a segmenter is with given counts: mIoU on labelled images, or how far it agrees with itself left dense.

Every image is run by itself, as the exported graph would run it. What an image gave is kept by counts, in memory and in a
file, so that no search runs anything twice, however often it was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.images import SegmenterOnImages
from edgeexport.calibration.interval import AGREEMENT, MIOU, drop_interval
from edgeexport.calibration.kept_results import KeptResults
from edgeexport.documents.progress import candidate
from edgeexport.errors import UsageError
from edgeexport.evaluation.areas import Areas, areas_of, scores_from_areas
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.evaluation.executions import FixedExecution
from edgeexport.evaluation.interval import Interval
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.evaluation.segmenter_spec import class_count

__all__ = ["CANDIDATES_SCHEMA", "CandidateQuality"]

CANDIDATES_SCHEMA = "edgeexport.candidates/1"
"""Of the file that `CandidateQuality` keeps its results in."""

_DENSE = Counts()


class CandidateQuality:
    """Counts -> percent, computed once.

    Args:
        file: Opened with `CANDIDATES_SCHEMA` and with a key that tells weights, images, labels and program; its entries are
            taken up.
        segmenter: What to measure, on what: against labels where every image has them. Its batch does not matter.

    Attributes:
        measure: 'mIoU'; or without labels 'agreement', the share of pixels that get the dense model's class.
        resumed: Images, over all candidates, whose results the file held.
    """

    def __init__(self, file: ProgressFile, segmenter: SegmenterOnImages) -> None:
        recipe = segmenter.recipe
        self.measure = MIOU if segmenter.images.labelled else AGREEMENT
        self._model, self._recipe = segmenter.model, replace(recipe, input=replace(recipe.input, batch=1))
        self._classes = class_count(recipe)
        self._dense_maps: dict[str, NDArray] = {}
        self._kept: KeptResults[Counts, Areas] = KeptResults(
            file, candidate(self._classes), segmenter, self._entry, self._from_entry
        )
        self.resumed = self._kept.resumed

    def __call__(self, counts: Counts) -> float:
        """Quality in percent.

        Raises:
            UsageError: No image can be used, none has a labelled pixel, or the file cannot be written.
            RecipeError: The counts do not fit the model.
        """
        # Without labels the dense model's class maps stand in for them.
        scores = scores_from_areas(sum(self.areas(counts).values(), Areas.zero(self._classes)))
        quality = scores.miou if self.measure == MIOU else scores.pixel_accuracy
        if math.isnan(quality):
            raise UsageError(
                "--data", "no pixel of any image has a label", "check that 255 is not all that is labelled"
            )
        return quality

    def areas(self, counts: Counts) -> Mapping[str, Areas]:
        """Image name -> areas, in the order of the images. Raises as a call does."""
        task = f"measure candidate {len(self._kept.complete) + 1}"
        return self._kept.of(counts, task, lambda images: self._measured(counts, images))

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
        return drop_interval(list(dense.values()), list(candidate.values()), self.measure)

    def _measured(self, counts: Counts, images: Iterator[LabelledImage]) -> Iterator[tuple[str, Areas]]:
        execution = self._execution(counts)
        dense = execution if counts == _DENSE or self.measure == MIOU else self._execution(_DENSE)
        for image in images:
            class_map = execution.run([image.photo])[0].class_map
            expected = image.label
            if self.measure == AGREEMENT:
                if counts == _DENSE:
                    self._dense_maps[image.name] = class_map.astype(np.uint16)
                expected = self._dense_map(image, dense)
            assert expected is not None, image.name
            yield image.name, areas_of(class_map, expected, self._classes)

    def _execution(self, counts: Counts) -> FixedExecution:
        return FixedExecution(self._model, recipe_with_counts(self._recipe, counts))

    def _dense_map(self, image: LabelledImage, dense: FixedExecution) -> NDArray[np.int64]:
        if image.name not in self._dense_maps:
            self._dense_maps[image.name] = dense.run([image.photo])[0].class_map.astype(np.uint16)
        return self._dense_maps[image.name].astype(np.int64)

    def _entry(self, counts: Counts, name: str, areas: Areas) -> dict[str, Any]:
        return {"measure": self.measure, "counts": counts.as_dict(), "name": name, "areas": areas.rows()}

    def _from_entry(self, entry: Mapping[str, Any]) -> tuple[Counts, str, Areas] | None:
        if entry["measure"] != self.measure:
            return None
        return Counts.from_dict(entry["counts"]), entry["name"], Areas.from_rows(entry["areas"], self._classes)
