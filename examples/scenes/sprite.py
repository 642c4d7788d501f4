"""Sprites: an object's parts as an index map, drawn in shares of its own width and height."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["Sprite", "SpriteDrawing"]


@dataclass(frozen=True)
class Sprite:
    """Parts uint8 (h, w), 0 where nothing is; colours float32 (parts + 1, 3) per part number."""

    parts: NDArray[np.uint8]
    colours: NDArray[np.float32]


class SpriteDrawing:
    """Draws parts over one another; coordinates run 0..1 from the upper left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = max(1, round(width)), max(1, round(height))
        self._image = Image.new("L", (self.width, self.height))
        self._draw = ImageDraw.Draw(self._image)
        self._colours: list[NDArray[np.float32]] = [np.zeros(3, np.float32)]

    def colour(self, value: NDArray[np.float32] | Sequence[float]) -> int:
        """Registers an RGB colour (0..1) and returns its part number."""
        self._colours.append(np.asarray(value, np.float32))
        return len(self._colours) - 1

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return x * self.width - 0.5, y * self.height - 0.5

    def rect(self, x0: float, y0: float, x1: float, y1: float, part: int) -> None:
        """A filled rectangle; erases nothing when it is thinner than a pixel."""
        left, top = round(x0 * self.width), round(y0 * self.height)
        right, bottom = round(x1 * self.width) - 1, round(y1 * self.height) - 1
        if right >= left and bottom >= top:
            self._draw.rectangle((left, top, right, bottom), fill=part)

    def poly(self, points: Sequence[tuple[float, float]], part: int) -> None:
        """A filled polygon."""
        self._draw.polygon([self._at(x, y) for x, y in points], fill=part)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, part: int) -> None:
        """A filled ellipse."""
        (left, top), (right, bottom) = self._at(cx - rx, cy - ry), self._at(cx + rx, cy + ry)
        self._draw.ellipse((left, top, max(left, right), max(top, bottom)), fill=part)

    def sprite(self, mirrored: bool = False) -> Sprite:
        """What was drawn, left and right exchanged if ``mirrored``."""
        parts = np.array(self._image)
        return Sprite(parts[:, ::-1] if mirrored else parts, np.stack(self._colours))
