"""The part of a photograph that a model sees, at the model's size. Pillow and numpy alone, so that it runs on the device.

With a `Crop` that cuts it is what timm's own evaluation transform cuts out, pixel by pixel, in timm's order of roundings;
with one that pads, mmcv's rescaled size and mmsegmentation's padding, at the right and below, by the mean colour, which is 0
once normalised.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.inputs.spec import Crop, InputSpec

__all__ = ["IMAGENET_MEAN", "covered", "framed_photo", "padded_labels", "seen_part", "without_padding"]

# Of models that take an already normalised image; the value of mmsegmentation's data preprocessor.
IMAGENET_MEAN = (123.675, 116.28, 103.53)

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_MOST_PIXELS = 1 << 26  # of a resized photograph: only a sliver, of which next to nothing is seen, has more


def framed_photo(photo: Image.Image, spec: InputSpec) -> Image.Image:
    """An RGB photograph at the model's size: cropped or padded as ``spec.crop`` says, without one squashed (bilinear)."""
    if spec.crop is None:
        return photo.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    if spec.crop.mode == "pad":
        height, width = covered(photo.size, spec)
        resized = photo.resize((width, height), _FILTERS[spec.crop.interpolation])
        return _on_canvas(resized, (spec.width, spec.height), spec)
    size = _resized_size(photo, spec, spec.crop)
    left, top = _corner(size, spec)
    filtered = _FILTERS[spec.crop.interpolation]
    if size[0] * size[1] > _MOST_PIXELS:
        return seen_part(photo, spec).resize((spec.width, spec.height), filtered)
    return photo.resize(size, filtered).crop((left, top, left + spec.width, top + spec.height))


def seen_part(photo: Image.Image, spec: InputSpec) -> Image.Image:
    """The part of a photograph that `framed_photo` shows, at the photograph's own resolution: what pictures are drawn on.

    Padding belongs to it.
    """
    if spec.crop is None:
        return photo
    if spec.crop.mode == "pad":
        return _on_canvas(photo, _canvas(photo.size, spec), spec)
    size = _resized_size(photo, spec, spec.crop)
    left, top = _corner(size, spec)
    across, down = photo.width / size[0], photo.height / size[1]
    box = (left * across, top * down, (left + spec.width) * across, (top + spec.height) * down)
    edges = [round(edge) for edge in box]
    return photo.crop((edges[0], edges[1], max(edges[2], edges[0] + 1), max(edges[3], edges[1] + 1)))


def covered(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """(height, width) of the part of the model's input, at its top left, that shows a photograph of this (width, height)."""
    if spec.crop is None or spec.crop.mode != "pad":
        return spec.height, spec.width
    ratio = min(spec.width / size[0], spec.height / size[1])
    width, height = (max(1, int(side * ratio + 0.5)) for side in size)
    return min(height, spec.height), min(width, spec.width)


def without_padding(values: NDArray, size: tuple[int, int], spec: InputSpec) -> NDArray:
    """Of values per pixel of the model's input, (H, W), those of a photograph of ``size`` (width, height)."""
    height, width = covered(size, spec)
    return values[:height, :width]


def padded_labels(label: NDArray[np.int64], spec: InputSpec, ignored: int) -> NDArray[np.int64]:
    """A photograph's labels (h, w) with ``ignored`` where `seen_part` pads it: what the model's whole input is labelled."""
    if spec.crop is None or spec.crop.mode != "pad":
        return label
    height, width = label.shape
    across, down = _canvas((width, height), spec)
    return np.pad(label, ((0, down - height), (0, across - width)), constant_values=ignored)


def _canvas(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """(width, height) of the model's input at the resolution of a photograph of ``size`` (width, height)."""
    height, width = covered(size, spec)
    return max(size[0], round(size[0] * spec.width / width)), max(size[1], round(size[1] * spec.height / height))


def _on_canvas(photo: Image.Image, size: tuple[int, int], spec: InputSpec) -> Image.Image:
    if photo.size == size:
        return photo
    red, green, blue = (round(level) for level in (spec.preprocess.mean if spec.preprocess else IMAGENET_MEAN))
    canvas = Image.new("RGB", size, (red, green, blue))
    canvas.paste(photo, (0, 0))
    return canvas


def _resized_size(photo: Image.Image, spec: InputSpec, crop: Crop) -> tuple[int, int]:
    """(width, height) to which the photograph is resized before its middle is cut out."""
    width, height = (math.floor(side / crop.pct) for side in (spec.width, spec.height))
    if crop.mode == "squash":
        return width, height
    if width == height:  # the shorter side exactly, the longer rounded down
        shorter, longer = sorted(photo.size)
        other = int(width * longer / shorter)
        return (width, other) if photo.width <= photo.height else (other, width)
    ratio = min(photo.width / width, photo.height / height)
    return round(photo.width / ratio), round(photo.height / ratio)


def _corner(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """(left, top) of the middle."""
    return round((size[0] - spec.width) / 2), round((size[1] - spec.height) / 2)
