"""How data sets call the annotation of an image: the same, or with an ending of its own, as Cityscapes does.

::

    leftImg8bit/val/town/town_000_leftImg8bit.png  and  gtFine/val/town/town_000_gtFine_labelTrainIds.png  are town/town_000
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePath

from edgeexport.errors import UsageError

__all__ = ["KNOWN", "UNCONVERTED", "Endings", "without_ending"]

_LABELS = ("_gtFine_labelTrainIds", "_gtCoarse_labelTrainIds", "_labelTrainIds")
_IMAGES = ("_leftImg8bit",)

UNCONVERTED = ("_labelIds",)
"""Endings of annotations whose numbers are not those of mmsegmentation's classes."""


@dataclass(frozen=True, kw_only=True)
class Endings:
    """What names end in beside an image's own name; with a file's type or without, such as '_mask.png' or '_mask'.

    Attributes:
        image, label: As the model's data set calls its files. Where none is called so, endings that are known are tried.
        asked_image, asked_label: As the user says that they are called.
    """

    image: str | None = None
    label: str | None = None
    asked_image: str | None = None
    asked_label: str | None = None

    def found(self, images: Collection[str], labels: Collection[str]) -> tuple[str, str]:
        """The endings of these names (without a file's type) of images and of annotations; '' for none.

        Images are taken for ending in something where annotations do, or where it was asked for.

        Raises:
            UsageError: No name has an ending that was asked for.
        """
        of_labels = _asked(labels, self.asked_label, "--label-suffix", "annotation")
        if of_labels is None:
            of_labels = _common(labels, (self.label, *_LABELS))
        of_images = _asked(images, self.asked_image, "--image-suffix", "image")
        if of_images is None:
            of_images = _common(images, (self.image, *_IMAGES)) if of_labels else ""
        return of_images, of_labels


KNOWN = Endings()
"""Those that are known, and nothing else."""


def without_ending(stem: str, ending: str) -> str | None:
    """A name without its ending; None for a file that does not have it."""
    if not ending:
        return stem
    return stem.removesuffix(ending) if _ends(stem, ending) else None


def _asked(stems: Collection[str], asked: str | None, option: str, what: str) -> str | None:
    if asked is None:
        return None
    ending = _own(asked)
    if ending and stems and not any(_ends(stem, ending) for stem in stems):
        problem = f"no {what} is called so; one is {next(iter(stems))!r}, without its type"
        remedy = "give what stands behind the part that both names share, such as _mask.png for 1_mask.png beside 1.jpg"
        raise UsageError(f"{option} {asked}", problem, remedy)
    return ending


def _common(stems: Collection[str], candidates: Iterable[str | None]) -> str:
    """The first of the candidates that any name ends in."""
    named = (_own(one) for one in candidates if one is not None)
    return next((ending for ending in named if ending and any(_ends(stem, ending) for stem in stems)), "")


def _own(suffix: str) -> str:
    """'_mask.png' is '_mask', and '.png' says nothing but a type."""
    return "" if suffix.startswith(".") else suffix.removesuffix(PurePath(suffix).suffix)


def _ends(stem: str, ending: str) -> bool:
    return stem.endswith(ending) and len(PurePath(stem).name) > len(ending)
