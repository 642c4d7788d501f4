"""A decoder's map of one value per place, such as saliency or depth, beside its photograph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.pictures.canvas import display_size, framed
from edgeexport.pictures.legend import Legend, LegendColumn, LegendEntry

__all__ = ["draw_heat_map", "heat_size"]

_LONGEST_SIDE = 1280  # two pictures stand side by side
_PLACES = np.linspace(0.0, 1.0, 5)
_COLOURS = np.array([(12, 10, 60), (90, 20, 130), (200, 60, 90), (245, 150, 40), (250, 245, 170)], dtype=np.float64)


def heat_size(shape: Sequence[int]) -> tuple[int, int] | None:
    """(h, w) of one image's output (h, w) or (1, h, w); None for anything else, and for what is a line or a point."""
    sizes = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    return (sizes[0], sizes[1]) if len(sizes) == 2 and min(sizes) > 1 else None


def draw_heat_map(photo: Image.Image, heat: NDArray, *, name: str, title: str = "", notice: str = "") -> Image.Image:
    """The photograph and, beside it, the map from dark (its smallest value) to light (its largest).

    Args:
        photo: RGB, the part that the model sees; each picture is drawn with its longest side between 1024 and 1280 pixels.
        heat: float (h, w), stretched over the photograph; what is not finite is drawn as the smallest.
        name: What the map is called.
        title: First line of the legend.
        notice: A warning that must not be overlooked.
    """
    width, height = display_size(photo, _LONGEST_SIDE)
    finite = heat[np.isfinite(heat)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    share = np.where(np.isfinite(heat), heat - low, 0.0) / ((high - low) or 1.0)
    scaled = Image.fromarray(share.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    drawn = Image.fromarray(_coloured(np.asarray(scaled)))
    ends = ((low, 0), (high, -1))
    entries = tuple(LegendEntry(f"{value:.4g}", fill=_colour(place)) for value, place in ends)
    scene = photo.resize((width, height), Image.Resampling.LANCZOS)
    return framed([scene, drawn], Legend((LegendColumn(name, entries),), title, notice))


def _coloured(share: NDArray) -> NDArray[np.uint8]:
    """Shares 0..1 (h, w) -> uint8 (h, w, 3)."""
    channels = [np.interp(share, _PLACES, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _colour(place: int) -> tuple[int, int, int]:
    red, green, blue = (int(level) for level in _COLOURS[place])
    return red, green, blue
