"""A labelled data set, image by image. No torch.

`edgeexport.evaluation.folder_layout` finds its files. What cannot be used is named and left out, and the rest goes on; a
mistake that concerns the whole folder is an error.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.bundle import sha256_of
from edgeexport.errors import ImageError, UsageError, plain_text
from edgeexport.evaluation.annotation import label_from_annotation
from edgeexport.inputs.photos import open_photo

__all__ = [
    "LabelledImage",
    "LeftOut",
    "Sample",
    "SegmentationFolder",
    "check_sequences",
    "labelled_images",
    "nothing_usable",
]


@dataclass(frozen=True)
class Sample:
    """An image and its annotation. ``name`` is the path below ``images/``, split included, without suffix, as plain text."""

    name: str
    image: Path
    annotation: Path | None


@dataclass(frozen=True)
class LeftOut:
    """Something that was not used, and why."""

    name: str
    problem: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", plain_text(self.name))
        object.__setattr__(self, "problem", plain_text(self.problem))

    def as_dict(self) -> dict[str, str]:
        """JSON-ready form."""
        return {"name": self.name, "problem": self.problem}


@dataclass(frozen=True)
class LabelledImage:
    """A decoded photograph (RGB, upright) and its labels, None without: int64 (H, W) at its size, with `ignored_label`."""

    name: str
    photo: Image.Image
    label: NDArray[np.int64] | None


@dataclass(frozen=True)
class SegmentationFolder:
    """What a folder holds, by name; nothing is decoded yet.

    Attributes:
        root: The folder that was given.
        split: The subfolder of images and annotations, or None.
        samples: Ascending by name.
        left_out: What the names alone rule out.
        labelled: Whether every sample has an annotation.
    """

    root: Path
    split: str | None
    samples: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...]
    labelled: bool

    def content_sha256(self) -> str:
        """Over names and file contents, in order. Reads every file.

        Raises:
            UsageError: A file cannot be read.
        """
        return self._digest(lambda path: sha256_of(path))

    def listing_sha256(self) -> str:
        """Over names, file sizes and modification times: cheap, to tell whether an interrupted run can go on.

        Raises:
            UsageError: A file cannot be found.
        """

        def facts(path: Path) -> str:
            status = path.stat()
            return f"{status.st_size} {status.st_mtime_ns}"

        return self._digest(facts)

    def _digest(self, facts: Callable[[Path], str]) -> str:
        digest = hashlib.sha256()
        for sample in self.samples:
            for path in (sample.image, sample.annotation):
                try:
                    entry = "" if path is None else f"{path.suffix}\0{facts(path)}"
                except OSError as error:
                    raise UsageError(str(path), f"cannot be read ({error.strerror})", "check the file") from None
                digest.update(f"{sample.name}\0{entry}\n".encode())
        return digest.hexdigest()


def labelled_images(
    folder: SegmentationFolder,
    num_classes: int,
    *,
    reduce_zero_label: bool = False,
    on_problem: Callable[[LeftOut], None],
    skip: Container[str] = (),
) -> Iterator[LabelledImage]:
    """Decodes a folder's samples one after another; only one is in memory at a time.

    Args:
        folder: From `edgeexport.evaluation.folder_layout.open_folder`.
        num_classes: K; labels are 0..K-1 and `ignored_label`.
        reduce_zero_label: See `edgeexport.evaluation.annotation.label_from_annotation`.
        on_problem: Called with every sample that cannot be used, at its turn.
        skip: Names to pass over unread.

    Raises:
        UsageError: After the last sample, if none could be used (and none was skipped).
    """
    useful, first = False, None
    for sample in folder.samples:
        if sample.name in skip:
            useful = True
            continue
        try:
            photo = open_photo(sample.image)
            label = None
            if sample.annotation is not None:
                label = label_from_annotation(
                    sample.annotation, num_classes, photo.size, reduce_zero_label=reduce_zero_label
                )
        except ImageError as error:
            problem = LeftOut(sample.name, error.problem)
            first = first or problem
            on_problem(problem)
            continue
        useful = True
        yield LabelledImage(sample.name, photo, label)
    if not useful and first is not None:
        raise nothing_usable(folder, first)


def check_sequences(folder: SegmentationFolder, lengths: Iterable[int]) -> None:
    """Refuses sequences (the images of one folder) that do not divide into parts of every one of ``lengths``.

    Raises:
        UsageError: A part would go from one sequence into the next.
    """
    sequences = Counter(sample.name.rpartition("/")[0] for sample in folder.samples)
    for length in lengths:
        for name, count in sequences.items():
            if count % length:
                problem = f"the sequence {name or folder.root} has {count} images, expected a multiple of {length}"
                remedy = "the images of one folder are one sequence: add or remove some, or give another number"
                raise UsageError(f"--policy-every {length}", problem, remedy)


def nothing_usable(folder: SegmentationFolder, first: LeftOut) -> UsageError:
    """The error for a folder of which every sample was left out, ``first`` before the others."""
    count = len(folder.samples)
    problem = f"none of {count} images can be used" if count > 1 else "its only image cannot be used"
    return UsageError(f"--data {folder.root}", f"{problem}; {first.name}: {first.problem}", "")
