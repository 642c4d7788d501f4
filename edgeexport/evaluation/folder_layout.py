"""Where a labelled data set's images and annotations lie, in mmsegmentation's folder layout or Cityscapes' own. No torch.

::

    DATA/images[/SPLIT]/NAME.jpg          or img_dir, or leftImg8bit
    DATA/annotations[/SPLIT]/NAME.png     or ann_dir, or gtFine; pixel values are class numbers, 255 is ignored

Annotations may end in more than their image's name (`edgeexport.evaluation.file_names`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeexport.errors import UsageError, nearest_hint, plain_text
from edgeexport.evaluation.annotation import ANNOTATION_SUFFIXES
from edgeexport.evaluation.dataset import LeftOut, Sample, SegmentationFolder
from edgeexport.evaluation.file_names import KNOWN, UNCONVERTED, Endings, without_ending
from edgeexport.inputs.photos import IMAGE_SUFFIXES

__all__ = ["has_image_folder", "open_folder"]

_IMAGE_FOLDERS, _ANNOTATION_FOLDERS = (
    ("images", "img_dir", "leftImg8bit"),
    ("annotations", "ann_dir", "gtFine", "gtCoarse"),
)
_LAYOUT = (
    "expected DIR/images[/SPLIT] and DIR/annotations[/SPLIT] with files of the same names, or Cityscapes' own layout"
)


def has_image_folder(data: Path) -> bool:
    """Whether a folder holds images as a data set does, in a folder of their own."""
    return _first_folder(data, _IMAGE_FOLDERS) is not None


def open_folder(
    data: Path,
    *,
    split: str | None = None,
    labels: str = "required",
    limit: int | None = None,
    endings: Endings = KNOWN,
) -> SegmentationFolder:
    """Lists a data set's images and annotations; pairs are files of the same name.

    Args:
        data: The folder with ``images`` and ``annotations`` (or ``img_dir`` and ``ann_dir``).
        split: A subfolder of both, such as 'val'; folders below it are read as well.
        labels: 'required', or 'optional': images without annotations are taken too, also from a bare folder of images.
        limit: Only the first so many samples by name; None: all.
        endings: Of images and annotations.

    Raises:
        UsageError: No such folder, another layout, splits of which none was chosen, no file ends as asked, nothing to use.
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
        of_images, of_labels = endings.found(pictures, labels_by_name)
        if not of_labels:
            _refuse_unconverted(annotations, labels_by_name)
        pictures, labels_by_name = _renamed(pictures, of_images), _renamed(labels_by_name, of_labels)
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
