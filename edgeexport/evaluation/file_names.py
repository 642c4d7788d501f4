"""How data sets call the annotation of an image: the same, or with an ending of its own, as Cityscapes does.

::

    leftImg8bit/val/town/town_000_leftImg8bit.png  and  gtFine/val/town/town_000_gtFine_labelTrainIds.png  are town/town_000
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

__all__ = ["UNCONVERTED", "common_ending", "without_ending"]

_LABELS = ("_gtFine_labelTrainIds", "_gtCoarse_labelTrainIds", "_labelTrainIds")
_IMAGES = ("_leftImg8bit",)

UNCONVERTED = ("_labelIds",)
"""Endings of annotations whose numbers are not those of mmsegmentation's classes."""


def common_ending(stems: Iterable[str], stated: str | None, *, labels: bool) -> str:
    """The ending that a folder's files have, '' where they have none of those known.

    Args:
        stems: Names without suffix.
        stated: Of the model's data set, such as '_gtFine_labelTrainIds.png'; one that is a suffix alone says nothing.
        labels: Of annotations, else of images.
    """
    known = _LABELS if labels else _IMAGES
    own = "" if stated is None else stated.removesuffix(PurePath(stated).suffix if "." in stated else "")
    candidates: Sequence[str] = tuple(dict.fromkeys((own, *known))) if own and not own.startswith(".") else known
    listed = list(stems)
    return next((ending for ending in candidates if any(_ends(stem, ending) for stem in listed)), "")


def without_ending(stem: str, ending: str) -> str | None:
    """A name without its ending; None for a file that does not have it."""
    if not ending:
        return stem
    return stem.removesuffix(ending) if _ends(stem, ending) else None


def _ends(stem: str, ending: str) -> bool:
    return stem.endswith(ending) and len(PurePath(stem).name) > len(ending)
