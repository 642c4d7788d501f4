"""Observations of all images under any counts or thresholds; what was observed once is not observed again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from edgeexport.calibration.counts import Counts, counts_from_recipe, recipe_with_counts
from edgeexport.calibration.images import SegmenterOnImages
from edgeexport.calibration.kept_results import KeptResults
from edgeexport.calibration.observations import observe_fixed, observe_published
from edgeexport.calibration.stage_observation import ImageObservation
from edgeexport.documents.progress import OBSERVED
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.evaluation.progress_file import ProgressFile

__all__ = ["PASSES_SCHEMA", "ImagePasses"]

PASSES_SCHEMA = "edgeexport.observations/1"


class ImagePasses:
    """Passes over all images, each known by the words in which it is kept.

    Args:
        file: Of schema `PASSES_SCHEMA`.
        segmenter: What to observe, on what.
    """

    def __init__(self, file: ProgressFile, segmenter: SegmenterOnImages) -> None:
        self._model, self._recipe = segmenter.model, segmenter.recipe
        self._kept: KeptResults[str, ImageObservation] = KeptResults(file, OBSERVED, segmenter, _entry, _from_entry)
        self.resumed = self._kept.resumed

    def fixed(self, counts: Counts, blocks: tuple[int, ...]) -> list[ImageObservation]:
        """`observe_fixed` of all images, in the folder's order."""
        name = f"fixed: {_counts_text(counts)}, observed after blocks {_listed(blocks)}"
        places = f"block{'s' * (len(blocks) > 1)} {' and '.join(map(str, blocks))}" if blocks else "windows"
        return self._pass(
            name, f"observe {places}", lambda images: observe_fixed(self._model, self._recipe, images, counts, blocks)
        )

    def published(self, thresholds: Mapping[int, float], num_shared: int | None = None) -> list[ImageObservation]:
        """`observe_published` of all images, in the folder's order; ``num_shared`` instead of the recipe's."""
        own = counts_from_recipe(self._recipe)
        shared = own.num_shared if num_shared is None else num_shared
        recipe = recipe_with_counts(self._recipe, Counts(shared, own.prune))
        limits = ", ".join(f"{block}: {theta!r}" for block, theta in sorted(thresholds.items()))
        name = f"adaptive: shared {shared}, thresholds {limits or 'none'}"
        return self._pass(
            name, "observe the adaptive form", lambda images: observe_published(self._model, recipe, images, thresholds)
        )

    def _pass(
        self, name: str, task: str, observe: Callable[[Iterator[LabelledImage]], Iterable[ImageObservation]]
    ) -> list[ImageObservation]:
        observations = self._kept.of(name, task, lambda images: ((image.name, image) for image in observe(images)))
        return list(observations.values())


def _entry(name: str, image: str, observation: ImageObservation) -> dict[str, Any]:
    return {"pass": name, "observation": observation.as_dict()}


def _from_entry(entry: Mapping[str, Any]) -> tuple[str, str, ImageObservation]:
    observation = ImageObservation.from_dict(entry["observation"])
    return entry["pass"], observation.name, observation


def _counts_text(counts: Counts) -> str:
    pruned = ", ".join(f"{block}: {k}" for block, k in counts.prune)
    return f"shared {counts.num_shared}, pruned {pruned or 'none'}"


def _listed(blocks: Sequence[int]) -> str:
    return ", ".join(map(str, blocks)) or "none"
