"""Photographs with overlays for report.html: from image files, and out of the report that they stood in before."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from edgeexport.errors import BundleError

__all__ = ["Picture", "pictures_from_files", "pictures_from_report"]

_JPEG_QUALITY = 88
_PREFIX = "data:image/jpeg;base64,"


@dataclass(frozen=True)
class Picture:
    """A photograph's name (empty where it is not known) and its overlay as a data URI."""

    name: str
    uri: str


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
                image.convert("RGB").save(jpeg, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise BundleError(
                str(where), f"{name or 'overlay'} is no image ({error})", "write the overlay again"
            ) from None
        pictures.append(Picture(name, _PREFIX + base64.b64encode(jpeg.getvalue()).decode("ascii")))
    return tuple(pictures)


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
    """Collects the images of a page, named by ``data-photo``, which earlier reports do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Picture] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            self.found.append(Picture(given.get("data-photo") or "", given.get("src") or ""))


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
