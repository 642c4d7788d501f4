"""The images that a calibration passes over again and again: decoded anew each time, without those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeexport.evaluation.dataset import LabelledImage, LeftOut, SegmentationFolder, labelled_images
from edgeexport.evaluation.executions import SegmenterModel
from edgeexport.evaluation.file_names import KNOWN, Endings
from edgeexport.evaluation.folder_layout import open_folder
from edgeexport.recipe.schema import Recipe

__all__ = ["OnProgress", "SegmenterOnImages", "UsableImages", "usable_folder"]

OnProgress = Callable[[int, int, str], None]
"""(images done, images in all, what is being done); 0 in all where there are no images to count."""


def usable_folder(
    data: Path, *, split: str | None, labels_needed: bool, limit: int | None, endings: Endings = KNOWN
) -> SegmentationFolder:
    """A data folder with labels where it has any: then images without annotation are left out, not the labels.

    Raises:
        UsageError: See `open_folder`.
    """
    if not labels_needed:
        folder = open_folder(data, split=split, labels="optional", limit=limit, endings=endings)
        if folder.labelled or not any(sample.annotation for sample in folder.samples):
            return folder
    return open_folder(data, split=split, labels="required", limit=limit, endings=endings)


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
        """What could not be used so far: known from the listing, then met while decoding."""
        return (*self.folder.left_out, *self._unusable.values())

    @property
    def labelled(self) -> bool:
        """Whether every image has labels."""
        return self.folder.labelled

    @property
    def expected(self) -> int:
        """How many images a pass has, as far as is known."""
        return len(self.folder.samples) - len(self._unusable)

    @property
    def names(self) -> list[str]:
        """Of all images that a pass may have, in its order."""
        return [sample.name for sample in self.folder.samples]

    def after(self, done: Container[str]) -> Iterator[LabelledImage]:
        """The images whose names are not in ``done``, in the folder's order.

        Raises:
            UsageError: None of the folder's images can be used.
        """
        skip = {name for name in self.names if name in done or name in self._unusable}
        yield from labelled_images(
            self.folder, self._num_classes, reduce_zero_label=self._reduce, on_problem=self._note, skip=skip
        )

    def _note(self, problem: LeftOut) -> None:
        self._unusable[problem.name] = problem
        self._on_left_out(problem)


@dataclass(frozen=True)
class SegmenterOnImages:
    """What a calibration runs again and again.

    Attributes:
        model: With the policy network and every auxiliary head that any of the runs needs.
        recipe: A SegViT recipe; what is shared and pruned is said run by run.
        images: What every run passes over.
        on_progress: Called before the first and after every image of a run.
    """

    model: SegmenterModel
    recipe: Recipe
    images: UsableImages
    on_progress: OnProgress = lambda done, total, task: None
