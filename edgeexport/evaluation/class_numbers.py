"""Which of a classifier's classes a folder of images stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["numbers_of_folders"]

_SYNSET = re.compile(r"n\d{8}")
_IMAGENET = 1000


def numbers_of_folders(folders: Sequence[str], classes: Sequence[str], num_classes: int) -> tuple[int, ...] | None:
    """A class number for every folder; None where the names tell none.

    By class name; by number; by ImageNet's synset (``n02123045``) of a model of its 1000 classes; or in alphabetical order
    where there are as many folders as classes, as torchvision's ``ImageFolder`` counts.

    Args:
        folders: Names, ascending.
        classes: Of the model, by number; may be empty.
        num_classes: K.
    """
    by_name = {_plain(name): number for number, name in enumerate(classes)}
    tables: list[dict[str, int]] = [by_name] if len(by_name) == len(classes) else []
    tables.append({str(number): number for number in range(num_classes)})
    if num_classes == _IMAGENET and all(map(_SYNSET.fullmatch, folders)):
        from timm.data import ImageNetInfo  # here: this needs torch

        tables.append({name: number for number, name in enumerate(ImageNetInfo("imagenet-1k").label_names())})
    for table in tables:
        numbers = [table.get(_plain(folder)) for folder in folders]
        if all(number is not None for number in numbers):
            return tuple(number for number in numbers if number is not None)
    return tuple(range(num_classes)) if len(folders) == num_classes else None


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()
