"""Photographs in a folder, with a class each where they lie in folders of classes. No torch.

::

    DATA/NAME.jpg              without classes
    DATA/CLASS/NAME.jpg        two folders or more: each is a class
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from edgeexport.errors import UsageError, plain_text
from edgeexport.inputs.photos import IMAGE_SUFFIXES

__all__ = ["PhotoFolder", "Photograph", "open_photos"]


@dataclass(frozen=True)
class Photograph:
    """An image file; ``name`` is its path below the folder, as plain text, ``label`` its place in `PhotoFolder.classes`."""

    name: str
    path: Path
    label: int | None


@dataclass(frozen=True)
class PhotoFolder:
    """What a folder holds; nothing is decoded yet.

    Attributes:
        root: As given.
        photos: Every class's first by name, then every class's second, and so on: the first few are of all classes.
        classes: Names of the folders, ascending; empty where there are no classes.
    """

    root: Path
    photos: tuple[Photograph, ...]
    classes: tuple[str, ...]

    def listing_sha256(self) -> str:
        """Over names, file sizes and modification times.

        Raises:
            UsageError: A file cannot be found.
        """
        digest = hashlib.sha256()
        for photo in self.photos:
            try:
                status = photo.path.stat()
            except OSError as error:
                raise UsageError(str(photo.path), f"cannot be read ({error.strerror})", "check the file") from None
            digest.update(f"{photo.name}\0{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def open_photos(data: Path) -> PhotoFolder:
    """Lists a folder's photographs: those in it and in all folders below it.

    Raises:
        UsageError: No such folder, no image in it, or images both in folders of classes and beside them.
    """
    if not data.is_dir():
        problem = "is a file, expected a folder" if data.exists() else "no such folder"
        raise UsageError(f"--data {data}", problem, "give a folder of images, or of a folder of images for each class")
    try:
        folders = sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith("."))
        beside = [path for path in data.iterdir() if _is_image(path)]
        inside = {folder.name: [path for path in folder.rglob("*") if _is_image(path)] for folder in folders}
    except OSError as error:
        raise UsageError(f"--data {data}", f"cannot be read ({error.strerror})", "check its permissions") from None
    groups = {name: paths for name, paths in inside.items() if paths}
    if not beside and not groups:
        raise UsageError(f"--data {data}", "holds no image", f"expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    if beside and len(groups) > 1:
        problem = f"{len(beside)} images lie beside {len(groups)} folders of images, such as {next(iter(groups))}/"
        raise UsageError(f"--data {data}", problem, "give every image a class's folder, or none")
    if len(groups) < 2:
        paths = sorted([*beside, *chain.from_iterable(groups.values())])
        return PhotoFolder(data, tuple(_photo(data, path, None) for path in paths), ())
    columns = [[_photo(data, path, label) for path in sorted(groups[name])] for label, name in enumerate(groups)]
    rows = chain.from_iterable(zip_longest(*columns))
    return PhotoFolder(data, tuple(photo for photo in rows if photo is not None), tuple(map(plain_text, groups)))


def _photo(root: Path, path: Path, label: int | None) -> Photograph:
    return Photograph(plain_text(path.relative_to(root).as_posix()), path, label)


def _is_image(path: Path) -> bool:
    """A leading dot marks what file managers leave behind, such as ._x.jpg."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
