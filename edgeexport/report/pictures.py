"""Photographs with overlays for report.html: from image files, and out of the report that they stood in before.

A picture's legend is text on the page, legible at any width: it is taken from the picture's file, and the drawn one is cut off.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from edgeexport.documents.legend import LEGEND, LegendDocument
from edgeexport.documents.reading import parsed
from edgeexport.errors import BundleError
from edgeexport.pictures.canvas import LEGEND_KEY

__all__ = ["Picture", "pictures_from_files", "pictures_from_report"]

_JPEG_QUALITY = 88
_PREFIX = "data:image/jpeg;base64,"


@dataclass(frozen=True)
class Picture:
    """A photograph's name (empty where it is not known) and its overlay as a data URI.

    ``legend_text`` is the legend's JSON, ``legend`` what it says; empty and None where it is part of the picture.
    """

    name: str
    uri: str
    legend_text: str = ""
    legend: LegendDocument | None = None


def pictures_from_files(files: Mapping[str, bytes], where: Path) -> tuple[Picture, ...]:
    """Name -> an image file's bytes, as JPEGs: that takes a tenth of a PNG's size. Full chroma, or thin red lines would blur.

    Raises:
        BundleError: One is no image; ``where`` is for the message.
    """
    pictures = []
    for name, content in files.items():
        jpeg = io.BytesIO()
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                told = image.info.get(LEGEND_KEY)
                text, legend = (told, _legend(told)) if isinstance(told, str) else ("", None)
                _above(image, legend).convert("RGB").save(
                    jpeg, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True
                )
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise BundleError(
                str(where), f"{name or 'overlay'} is no image ({error})", "write the overlay again"
            ) from None
        uri = _PREFIX + base64.b64encode(jpeg.getvalue()).decode("ascii")
        pictures.append(Picture(name, uri, text if legend is not None else "", legend))
    return tuple(pictures)


def _legend(text: str) -> LegendDocument | None:
    """None where it is damaged: the drawn one stays then."""
    try:
        return parsed(text, LEGEND, "legend")
    except BundleError:
        return None


def _above(image: Image.Image, legend: LegendDocument | None) -> Image.Image:
    """The picture without the legend that is drawn below it."""
    if legend is None:
        return image
    width, height = min(legend["width"], image.width), min(legend["height"], image.height)
    left = (image.width - width) // 2
    return image.crop((left, 0, left + width, height))


def pictures_from_report(report: Path) -> tuple[Picture, ...]:
    """The pictures of a report.html that an earlier command wrote, unchanged; none where there is no such file.

    They are kept there and nowhere else, so that a bundle has no files that only its report needs. What is not whole is
    left out.
    """
    try:
        content = "" if report.is_symlink() else report.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ()
    reader = _Images()
    reader.feed(content)
    return tuple(picture for picture in reader.found if _is_jpeg(picture.uri))


class _Images(HTMLParser):
    """Collects the images of a page, named by ``data-photo``; neither this nor ``data-legend`` is in every earlier report."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Picture] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            text = given.get("data-legend") or ""
            legend = _legend(text) if text else None
            name, uri = given.get("data-photo") or "", given.get("src") or ""
            self.found.append(Picture(name, uri, text if legend is not None else "", legend))


def _is_jpeg(uri: str) -> bool:
    if not uri.startswith(_PREFIX):
        return False
    try:
        jpeg = io.BytesIO(base64.b64decode(uri[len(_PREFIX) :], validate=True))
        with Image.open(jpeg, formats=("JPEG",)) as image:
            image.load()
            return True
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError):
        return False
