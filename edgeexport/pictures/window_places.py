"""Windows that slid over an image, as parts of its picture: where each lies, and which part of the picture shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["WHOLE", "Box", "WindowPlace", "window_places"]


@dataclass(frozen=True)
class Box:
    """A part of a picture, each side 0..1 of the picture's height or width."""

    top: float
    left: float
    bottom: float
    right: float

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns in a picture of that size, at least one each."""
        rows, columns = _span(self.top, self.bottom, height), _span(self.left, self.right, width)
        return slice(*rows), slice(*columns)


@dataclass(frozen=True)
class WindowPlace:
    """One window.

    Attributes:
        box: Where it lies.
        shown: The part of the picture that shows what it decided: where windows overlap, up to the middle. These parts fill the
            picture, and no two overlap.
    """

    box: Box
    shown: Box

    def shown_of(self, window: NDArray, height: int, width: int) -> NDArray:
        """Of a window's own pixels, as many as its box has in a picture of that size, those of the part that shows it."""
        rows, columns = self.box.pixels(height, width)
        shown_rows, shown_columns = self.shown.pixels(height, width)
        # Both are rounded to pixels, so that the part may begin or end one beside the window.
        down = np.clip(np.arange(shown_rows.start, shown_rows.stop) - rows.start, 0, window.shape[0] - 1)
        across = np.clip(np.arange(shown_columns.start, shown_columns.stop) - columns.start, 0, window.shape[1] - 1)
        return window[down[:, None], across]


WHOLE = WindowPlace(Box(0, 0, 1, 1), Box(0, 0, 1, 1))
"""The image as a single window."""


def window_places(
    image: tuple[int, int], window: tuple[int, int], rows: Sequence[int], columns: Sequence[int]
) -> tuple[WindowPlace, ...]:
    """Windows row by row, as the model saw them.

    Args:
        image, window: (height, width) in pixels of the model's input.
        rows, columns: Upper and left edges, ascending.
    """
    down, across = _shown(rows, window[0], image[0]), _shown(columns, window[1], image[1])
    places = []
    for top, (first, last) in zip(rows, down, strict=True):
        for left, (start, end) in zip(columns, across, strict=True):
            box = Box(top / image[0], left / image[1], (top + window[0]) / image[0], (left + window[1]) / image[1])
            places.append(WindowPlace(box, Box(first / image[0], start / image[1], last / image[0], end / image[1])))
    return tuple(places)


def _shown(starts: Sequence[int], size: int, whole: int) -> list[tuple[float, float]]:
    """Of every window along a side from where to where it is shown."""
    middles = [(before + size + after) / 2 for before, after in pairwise(starts)]
    return list(zip([0.0, *middles], [*middles, float(whole)], strict=True))


def _span(start: float, end: float, pixels: int) -> tuple[int, int]:
    first = min(round(start * pixels), pixels - 1)
    return first, max(round(end * pixels), first + 1)
