"""Repeated passes over a folder's images: decoded anew each time, each observation kept in a file once it is made."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path

from edgeexport.calibration.counts import Counts, counts_from_recipe, recipe_with_counts
from edgeexport.calibration.observations import observe_adaptive, observe_fixed
from edgeexport.calibration.stage_observation import ImageObservation
from edgeexport.evaluation.dataset import LabelledImage, LeftOut, SegmentationFolder, labelled_images, open_folder
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.recipe.schema import Recipe

__all__ = ["PASSES_SCHEMA", "ImagePasses", "OnProgress", "UsableImages", "usable_folder"]

PASSES_SCHEMA = "edgeexport.observations/1"

OnProgress = Callable[[int, int, str], None]
"""(images done, images in all, what is being done); 0 in all where there are no images to count."""


def usable_folder(data: Path, *, split: str | None, labels_needed: bool, limit: int | None) -> SegmentationFolder:
    """A data folder with labels where it has any: then images without annotation are left out, not the labels.

    Raises:
        UsageError: See `open_folder`.
    """
    if labels_needed:
        return open_folder(data, split=split, labels="required", limit=limit)
    folder = open_folder(data, split=split, labels="optional", limit=limit)
    if folder.labelled or not any(sample.annotation for sample in folder.samples):
        return folder
    return open_folder(data, split=split, labels="required", limit=limit)


class UsableImages:
    """A folder's images, without those that the first pass could not use.

    Args:
        folder: What to read.
        num_classes: K of the model.
        reduce_zero_label: See `labelled_images`.
        on_left_out: Called once with everything that cannot be used, as it is found.
    """

    def __init__(
        self,
        folder: SegmentationFolder,
        num_classes: int,
        *,
        reduce_zero_label: bool = False,
        on_left_out: Callable[[LeftOut], None] = lambda item: None,
    ) -> None:
        self.folder = folder
        self._num_classes, self._reduce, self._on_left_out = num_classes, reduce_zero_label, on_left_out
        self._unusable: dict[str, LeftOut] = {}
        for item in folder.left_out:
            on_left_out(item)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What could not be used so far: known from the listing, then found while decoding."""
        return (*self.folder.left_out, *self._unusable.values())

    @property
    def expected(self) -> int:
        """How many images a pass has, as far as is known."""
        return len(self.folder.samples) - len(self._unusable)

    def after(self, done: Container[str]) -> Iterator[LabelledImage]:
        """The images whose names are not in ``done``, in the folder's order.

        Raises:
            UsageError: None of the folder's images can be used.
        """
        unusable = self._unusable

        class _Skipped:
            def __contains__(self, name: object) -> bool:
                return name in done or name in unusable

        yield from labelled_images(
            self.folder, self._num_classes, reduce_zero_label=self._reduce, on_problem=self._note, skip=_Skipped()
        )

    def __iter__(self) -> Iterator[LabelledImage]:
        return self.after(())

    def _note(self, problem: LeftOut) -> None:
        self._unusable[problem.name] = problem
        self._on_left_out(problem)


class ImagePasses:
    """Observations of all images under any counts or thresholds; what the file holds is not computed again.

    Args:
        file: Of schema `PASSES_SCHEMA`.
        images: What to observe.
        model: With every head that will be observed, and the policy network where windows are.
        recipe: A SegViT recipe.
        on_progress: Called before the first and after every image.
    """

    def __init__(
        self,
        file: ProgressFile,
        images: UsableImages,
        model: SegVit,
        recipe: Recipe,
        on_progress: OnProgress = lambda done, total, task: None,
    ) -> None:
        self._file, self._images, self._model, self._recipe = file, images, model, recipe
        self._on_progress = on_progress
        self._found: dict[str, dict[str, ImageObservation]] = {}
        for entry in file.entries():
            observation = ImageObservation.from_dict(entry["observation"])
            self._found.setdefault(entry["pass"], {})[observation.name] = observation
        self.resumed = sum(map(len, self._found.values()))

    def fixed(self, counts: Counts, blocks: tuple[int, ...]) -> list[ImageObservation]:
        """`observe_fixed` of all images, in the folder's order."""
        name = f"fixed: {_counts_key(counts)}, observed after blocks {_listed(blocks)}"
        return self._pass(
            name,
            f"observe {_places(blocks)}",
            lambda images: observe_fixed(self._model, self._recipe, images, counts, blocks),
        )

    def adaptive(self, thresholds: Mapping[int, float], num_shared: int | None = None) -> list[ImageObservation]:
        """`observe_adaptive` of all images, in the folder's order; ``num_shared`` instead of the recipe's."""
        own = counts_from_recipe(self._recipe)
        shared = own.num_shared if num_shared is None else num_shared
        recipe = recipe_with_counts(self._recipe, Counts(shared, own.prune))
        limits = ", ".join(f"{block}: {theta!r}" for block, theta in sorted(thresholds.items()))
        name = f"adaptive: shared {shared}, thresholds {limits or 'none'}"
        return self._pass(
            name, "observe the adaptive form", lambda images: observe_adaptive(self._model, recipe, images, thresholds)
        )

    def _pass(
        self, name: str, task: str, observe: Callable[[Iterator[LabelledImage]], Iterator[ImageObservation]]
    ) -> list[ImageObservation]:
        found = self._found.setdefault(name, {})
        self._on_progress(len(found), self._images.expected, task)
        for observation in observe(self._images.after(set(found))):
            self._file.append([{"pass": name, "observation": observation.as_dict()}])
            found[observation.name] = observation
            self._on_progress(len(found), self._images.expected, task)
        return [found[sample.name] for sample in self._images.folder.samples if sample.name in found]


def _counts_key(counts: Counts) -> str:
    pruned = ", ".join(f"{block}: {k}" for block, k in counts.prune)
    return f"shared {counts.num_shared}, pruned {pruned or 'none'}"


def _places(blocks: tuple[int, ...]) -> str:
    return f"block{'s' * (len(blocks) > 1)} {' and '.join(map(str, blocks))}" if blocks else "windows"


def _listed(blocks: tuple[int, ...]) -> str:
    return ", ".join(map(str, blocks)) or "none"
