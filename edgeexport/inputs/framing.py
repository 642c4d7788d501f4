"""The part of a photograph that a model sees, at the model's size. Pillow alone, so that it runs on the device.

With a `Crop` it is what timm's own evaluation transform cuts out, pixel by pixel, in timm's order of roundings.
"""

from __future__ import annotations

import math

from PIL import Image

from edgeexport.inputs.spec import Crop, InputSpec

__all__ = ["framed_photo", "seen_part"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_MOST_PIXELS = 1 << 26  # of a resized photograph: only a sliver, of which next to nothing is seen, has more


def framed_photo(photo: Image.Image, spec: InputSpec) -> Image.Image:
    """An RGB photograph at the model's size: cropped as ``spec.crop`` says, without one squashed (bilinear)."""
    if spec.crop is None:
        return photo.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    size = _resized_size(photo, spec, spec.crop)
    left, top = _corner(size, spec)
    filtered = _FILTERS[spec.crop.interpolation]
    if size[0] * size[1] > _MOST_PIXELS:
        return seen_part(photo, spec).resize((spec.width, spec.height), filtered)
    return photo.resize(size, filtered).crop((left, top, left + spec.width, top + spec.height))


def seen_part(photo: Image.Image, spec: InputSpec) -> Image.Image:
    """The part of a photograph that `framed_photo` shows, at the photograph's own resolution: what pictures are drawn on."""
    if spec.crop is None:
        return photo
    size = _resized_size(photo, spec, spec.crop)
    left, top = _corner(size, spec)
    across, down = photo.width / size[0], photo.height / size[1]
    box = (left * across, top * down, (left + spec.width) * across, (top + spec.height) * down)
    edges = [round(edge) for edge in box]
    return photo.crop((edges[0], edges[1], max(edges[2], edges[0] + 1), max(edges[3], edges[1] + 1)))


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
