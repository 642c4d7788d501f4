"""The sheet that a picture is laid out on: its size on a screen, where patches begin, and the legend below."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edgeexport.pictures.legend import Legend, draw_legend

__all__ = ["LEGEND_KEY", "LONGEST_SIDE", "display_size", "framed", "of_pixels", "patch_edges", "png_of"]

LEGEND_KEY = "edgeexport.legend"

# The drawing is for people, so that its size follows the screen and not the photograph: patches of small photographs
# would have no room for an outline. The label map is what keeps the photograph's pixels.
LONGEST_SIDE = 1600
_SHORTEST_LONGEST_SIDE = 1024
_NARROWEST_CANVAS = 960
_GUTTER = 24


def display_size(photo: Image.Image, longest: int = LONGEST_SIDE) -> tuple[int, int]:
    """Width and height to draw a photograph at: the longest side between 1024 and ``longest`` pixels."""
    given = max(photo.size)
    scale = min(max(given, _SHORTEST_LONGEST_SIDE), longest) / given
    return max(round(photo.width * scale), 1), max(round(photo.height * scale), 1)


def patch_edges(pixels: int, patches: int) -> NDArray[np.int64]:
    """Pixel positions of the ``patches + 1`` patch boundaries along a side."""
    return (np.arange(patches + 1) * pixels + patches // 2) // patches


def of_pixels(values: NDArray, height: int, width: int) -> NDArray:
    """Repeats values by patch (rows, columns) for every pixel: (height, width)."""
    rows, columns = patch_edges(height, values.shape[0]), patch_edges(width, values.shape[1])
    return values.repeat(np.diff(rows), axis=0).repeat(np.diff(columns), axis=1)


def framed(pictures: Sequence[Image.Image], legend: Legend) -> Image.Image:
    """Pictures of equal height side by side, centred, with the legend below at a width that can be read.

    The image's ``info`` holds the legend as text, too (`LEGEND_KEY`), which `png_of` writes into the file.
    """
    width = sum(picture.width for picture in pictures) + _GUTTER * (len(pictures) - 1)
    height = pictures[0].height
    canvas_width = max(width, _NARROWEST_CANVAS)
    below = draw_legend(legend, canvas_width)
    canvas = Image.new("RGB", (canvas_width, height + below.height), legend.background)
    left = (canvas_width - width) // 2
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width + _GUTTER
    canvas.paste(below, (0, height))
    canvas.info[LEGEND_KEY] = json.dumps(legend.as_dict(width, height), default=int)
    return canvas


def png_of(image: Image.Image) -> bytes:
    """The image as a PNG; a legend that `framed` drew stands in it as text as well, under `LEGEND_KEY`."""
    text = PngInfo()
    if LEGEND_KEY in image.info:
        text.add_text(LEGEND_KEY, image.info[LEGEND_KEY])
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=text)
    return content.getvalue()
