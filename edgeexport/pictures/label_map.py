"""Class maps as images: back to a photograph's size, as a PNG whose pixel values are class numbers, and as shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.config.labels import generated_palette

__all__ = ["ClassShare", "class_shares", "label_image", "palette_for", "resized_class_map"]

_PALETTE_ENTRIES = 256
_COUNTED_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ClassShare:
    """A class found in an image, and its share of the pixels (0..1)."""

    index: int
    name: str
    share: float


def resized_class_map(class_map: NDArray, height: int, width: int) -> NDArray:
    """Nearest-neighbour resize, int (H, W) -> (height, width), by pixel centres: a whole factor replicates evenly."""
    rows = (2 * np.arange(height) + 1) * class_map.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * class_map.shape[1] // (2 * width)
    return class_map[rows[:, None], columns]


def label_image(class_map: NDArray, num_classes: int | None, palette: tuple[tuple[int, int, int], ...]) -> Image.Image:
    """A label map whose pixel values are the class numbers.

    Up to 256 classes: 8-bit with the palette attached (viewers show colours; `numpy.asarray(Image.open(...))` and every
    reader of indexed PNGs gives class numbers). More, or an unknown number (None): 16-bit greyscale.
    """
    if num_classes is None or num_classes > _PALETTE_ENTRIES:
        return Image.fromarray(class_map.astype(np.uint16))
    image = Image.fromarray(class_map.astype(np.uint8, copy=False))
    image.putpalette([level for colour in palette_for(num_classes, palette) for level in colour])
    return image


def class_shares(class_map: NDArray, classes: tuple[str, ...]) -> tuple[ClassShare, ...]:
    """The classes present, largest first; unnamed classes are called by number."""
    flat = class_map.ravel()
    starts = range(0, flat.size, _COUNTED_AT_ONCE)  # bincount makes 8 bytes of every pixel
    parts = [np.bincount(flat[start : start + _COUNTED_AT_ONCE], minlength=int(flat.max()) + 1) for start in starts]
    counts = np.sum(parts, axis=0)
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda index: (-int(counts[index]), index))
    return tuple(
        ClassShare(
            index, classes[index] if index < len(classes) else f"class {index}", float(counts[index] / class_map.size)
        )
        for index in order
    )


def palette_for(num_classes: int, palette: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
    """RGB colours for ``num_classes`` classes: the given ones, generated ones where those end."""
    return (*palette, *generated_palette(num_classes)[len(palette) :])[:num_classes]
