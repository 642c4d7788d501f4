"""Features as a picture: their first three principal components over an image's patches as red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.pictures.canvas import display_size, framed, of_pixels
from edgeexport.pictures.legend import Legend, LegendColumn, LegendEntry, percent_text

__all__ = ["component_colours", "draw_features", "is_tokens", "patches_of_features"]

_LONGEST_SIDE = 1280  # two pictures stand side by side
_COMPONENTS = 3
_MOST_PREFIX = 16
_GREY = 128
_ENDS = (2, 98)  # percentiles that become 0 and 255
_SWATCH = ((214, 40, 57), (24, 150, 84), (38, 98, 255))


def is_tokens(shape: Sequence[int], grid: tuple[int, int]) -> bool:
    """Whether an image's output of this shape is tokens (n, C) under a name of somebody else's: as many as there are patches,
    and at most a few ahead of them. A square one may as well be a map of one value per place, and is taken for that.
    """
    return len(shape) == 2 and shape[0] != shape[1] and 0 <= shape[0] - grid[0] * grid[1] <= _MOST_PREFIX


def patches_of_features(values: NDArray, grid: tuple[int, int]) -> NDArray:
    """One image's features, tokens (n, C) with any prefix ahead of the patches, or a map (C, h, w), by patch: (h, w, C)."""
    if values.ndim == 3:
        return values.transpose(1, 2, 0)
    return values[values.shape[0] - grid[0] * grid[1] :].reshape(*grid, -1)


def component_colours(features: NDArray) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """The first three principal components over patches (h, w, C) as colours.

    A component's sign is the one with which its values are skewed upwards, so that the same features have the same colours
    everywhere; grey where there is no further component.

    Returns:
        uint8 (h, w, 3), each component from its 2nd to its 98th percentile; and its share of the variance.
    """
    height, width, _ = features.shape
    rows = features.reshape(height * width, -1).astype(np.float64)
    rows -= rows.mean(axis=0)
    left, singular, _ = np.linalg.svd(rows, full_matrices=False)
    colours = np.full((height * width, _COMPONENTS), _GREY, dtype=np.uint8)
    variance = singular**2
    total = float(variance.sum())
    shares = []
    for number in range(min(_COMPONENTS, len(singular))):
        share = float(variance[number]) / total if total else 0.0
        shares.append(share)
        values = left[:, number] * (1.0 if (left[:, number] ** 3).sum() >= 0 else -1.0)
        low, high = np.percentile(values, _ENDS)
        if share > 1e-9 and high > low:
            colours[:, number] = (255 * np.clip((values - low) / (high - low), 0, 1)).round()
    return colours.reshape(height, width, _COMPONENTS), tuple(shares)


def draw_features(photo: Image.Image, features: NDArray, *, title: str = "", notice: str = "") -> Image.Image:
    """The photograph and, beside it, its features' principal components as colours by patch.

    Args:
        photo: RGB, the part that the model sees; each picture is drawn with its longest side between 1024 and 1280 pixels.
        features: (h, w, C), by patch.
        title: First line of the legend.
        notice: A warning that must not be overlooked.
    """
    width, height = display_size(photo, _LONGEST_SIDE)
    scene = photo.resize((width, height), Image.Resampling.LANCZOS)
    colours, shares = component_colours(features)
    entries = [
        LegendEntry(f"component {number}", f"{percent_text(share)} of the variance", fill=fill)
        for number, (fill, share) in enumerate(zip(_SWATCH, shares, strict=False), start=1)
    ]
    drawn = Image.fromarray(of_pixels(colours, height, width))
    return framed([scene, drawn], Legend((LegendColumn("Features by patch", tuple(entries)),), title, notice))
