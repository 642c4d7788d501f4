"""A labelled data set in mmsegmentation's folder layout, image by image. No torch.

::

    DATA/images[/SPLIT]/NAME.jpg          or img_dir, or leftImg8bit
    DATA/annotations[/SPLIT]/NAME.png     or ann_dir, or gtFine; pixel values are class numbers, 255 is ignored

Annotations may end in more than their image's name (`edgeexport.evaluation.file_names`).

What does not fit is named and left out, and the rest goes on; a mistake that concerns the whole folder is an error.
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
from edgeexport.errors import ImageError, UsageError, nearest_hint, plain_text
from edgeexport.evaluation.annotation import ANNOTATION_SUFFIXES, label_from_annotation
from edgeexport.evaluation.file_names import UNCONVERTED, common_ending, without_ending
from edgeexport.inputs.photos import IMAGE_SUFFIXES, open_photo

__all__ = [
    "LabelledImage",
    "LeftOut",
    "Sample",
    "SegmentationFolder",
    "check_sequences",
    "labelled_images",
    "nothing_usable",
    "open_folder",
]

_IMAGE_FOLDERS, _ANNOTATION_FOLDERS = (
    ("images", "img_dir", "leftImg8bit"),
    ("annotations", "ann_dir", "gtFine", "gtCoarse"),
)
_LAYOUT = (
    "expected DIR/images[/SPLIT] and DIR/annotations[/SPLIT] with files of the same names, or Cityscapes' own layout"
)


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


def open_folder(
    data: Path,
    *,
    split: str | None = None,
    labels: str = "required",
    limit: int | None = None,
    suffixes: tuple[str | None, str | None] = (None, None),
) -> SegmentationFolder:
    """Lists a data set's images and annotations; pairs are files of the same name.

    Args:
        data: The folder with ``images`` and ``annotations`` (or ``img_dir`` and ``ann_dir``).
        split: A subfolder of both, such as 'val'; folders below it are read as well.
        labels: 'required', or 'optional': images without annotations are taken too, also from a bare folder of images.
        limit: Only the first so many samples by name; None: all.
        suffixes: Of images and annotations, as the model's data set calls them; see `common_ending`.

    Raises:
        UsageError: No such folder, another layout, splits of which none was chosen, nothing to use.
    """
    assert labels in ("required", "optional"), labels
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}", "uses no image", "give at least 1, or leave --limit out")
    if not data.is_dir():
        problem = "is a file, expected a folder" if data.exists() else "no such folder"
        raise UsageError(f"--data {data}", problem, _LAYOUT)
    images = _first_folder(data, _IMAGE_FOLDERS)
    annotations = _first_folder(data, _ANNOTATION_FOLDERS)
    if images is None or (annotations is None and labels == "required"):
        if labels == "required":
            raise _wrong_layout(data, images)
        images, annotations = images or data, None
    left_out: list[LeftOut] = []
    pictures = _listed(images, split, IMAGE_SUFFIXES, left_out)
    if not pictures:
        raise _no_images(images, split)
    labels_by_name: dict[str, Path] = {}
    if annotations is not None:
        if split is not None and not (annotations / split).is_dir():
            problem = f"no such folder, but images are in {images / split}"
            raise UsageError(str(annotations / split), problem, _LAYOUT)
        labels_by_name = _listed(annotations, split, ANNOTATION_SUFFIXES, [])
        ending = common_ending(labels_by_name, suffixes[1], labels=True)
        if not ending:
            _refuse_unconverted(annotations, labels_by_name)
        else:
            labels_by_name = _renamed(labels_by_name, ending)
            pictures = _renamed(pictures, common_ending(pictures, suffixes[0], labels=False))
    samples = []
    for name, path in pictures.items():
        annotation = labels_by_name.get(name)
        if annotation is None and labels == "required":
            left_out.append(LeftOut(name, "image without annotation"))
        else:
            samples.append(Sample(name, path, annotation))
    left_out += [LeftOut(name, "annotation without image") for name in labels_by_name if name not in pictures]
    if not samples:
        raise _no_pairs(images, annotations, list(pictures.values()), list(labels_by_name.values()))
    chosen = tuple(samples[:limit])
    labelled = all(sample.annotation is not None for sample in chosen)
    return SegmentationFolder(data, split, chosen, tuple(left_out), labelled)


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
        folder: From `open_folder`.
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


def _first_folder(data: Path, names: Iterable[str]) -> Path | None:
    return next((data / name for name in names if (data / name).is_dir()), None)


def _listed(folder: Path, split: str | None, suffixes: tuple[str, ...], left_out: list[LeftOut]) -> dict[str, Path]:
    """Name -> file, ascending by name; of several files of one name the one whose suffix comes first is taken.

    Raises:
        UsageError: There is no such split, one has to be chosen, or the folder cannot be read.
    """
    top = folder if split is None else folder / split
    splits = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if split is not None and (split in ("", ".", "..") or not top.is_dir()):
        remedy = nearest_hint(split, splits) if splits else "its files are in no subfolders: leave --split out"
        raise UsageError(f"--split {split or repr(split)}", f"{folder} has no such subfolder", remedy)
    by_name: dict[str, list[Path]] = {}
    for path in _files(top, recursive=split is not None):
        if path.suffix.lower() in suffixes:
            name = plain_text(path.relative_to(folder).with_suffix("").as_posix())
            by_name.setdefault(name, []).append(path)
    if not by_name and split is None and splits:
        raise UsageError(
            str(folder), f"holds no images itself but subfolders: {', '.join(splits)}", "choose one with --split"
        )
    if split is None and by_name:
        left_out += [LeftOut(f"{name}/", f"subfolder, chosen with --split {name}") for name in splits]
    chosen = {}
    for name in sorted(by_name):
        first, *others = sorted(by_name[name], key=lambda path: (suffixes.index(path.suffix.lower()), path.name))
        chosen[name] = first
        left_out += [
            LeftOut(name, f"{other.name} has the same name as {first.name}, which is used") for other in others
        ]
    return chosen


def _renamed(files: dict[str, Path], ending: str) -> dict[str, Path]:
    """Of the files with the ending, by their names without."""
    names = ((without_ending(name, ending), path) for name, path in files.items())
    return {name: path for name, path in names if name is not None}


def _refuse_unconverted(annotations: Path, names: dict[str, Path]) -> None:
    """Raises: UsageError: There are Cityscapes' own numbers alone, of which some are of no class."""
    raw = next((path for name, path in names.items() if name.endswith(UNCONVERTED)), None)
    if raw is not None:
        problem = f"holds {raw.name} and the like, whose numbers are no class numbers; expected ..._labelTrainIds.png"
        remedy = (
            "make them as mmsegmentation does: python tools/dataset_converters/cityscapes.py (needs cityscapesscripts)"
        )
        raise UsageError(str(annotations), problem, remedy)


def _files(folder: Path, *, recursive: bool) -> list[Path]:
    try:
        paths = folder.rglob("*") if recursive else folder.iterdir()
        # A leading dot marks what file managers leave behind, such as ._x.jpg.
        return [path for path in paths if not path.name.startswith(".") and path.is_file()]
    except OSError as error:
        raise UsageError(str(folder), f"cannot be read ({error.strerror})", "check its permissions") from None


def _wrong_layout(data: Path, images: Path | None) -> UsageError:
    if images is not None:
        return UsageError(f"--data {data}", f"has {images.name}/ but no annotations/ or ann_dir/", _LAYOUT)
    inside = data.name in _IMAGE_FOLDERS or (data.parent.name in _IMAGE_FOLDERS)
    if inside:
        return UsageError(f"--data {data}", "is the folder of the images", "give the folder above images/")
    return UsageError(f"--data {data}", "has no images/ or img_dir/", _LAYOUT)


def _no_images(images: Path, split: str | None) -> UsageError:
    folder = images if split is None else images / split
    return UsageError(str(folder), "holds no image", f"expected files ending in {', '.join(IMAGE_SUFFIXES)}")


def _no_pairs(images: Path, annotations: Path | None, pictures: list[Path], labels: list[Path]) -> UsageError:
    assert annotations is not None  # without, every image is a sample
    if not labels:
        expected = f"expected files ending in {', '.join(sorted(ANNOTATION_SUFFIXES))}"
        return UsageError(str(annotations), f"holds no annotation for the {len(pictures)} images", expected)
    problem = f"no annotation has the name of an image: {pictures[0].name} against {labels[0].name}, for example"
    return UsageError(f"{images} and {annotations}", problem, "an annotation needs its image's name (suffix apart)")
