"""The pinhole view of a flat ground: where a point of the street lands in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["View", "draw_view"]


@dataclass(frozen=True)
class View:
    """A camera over flat ground, looking along the street.

    Depth is given as *nearness* t: 1 where the ground meets the picture's lower edge, 0 at infinity; sizes on screen
    grow with t, and the distance is ``near_m / t`` metres. Lateral positions are metres right of the camera.
    """

    size: int
    vanish_x: float
    """Column of the vanishing point, pixels."""
    horizon: float
    """Row of the horizon, pixels."""
    metre: float
    """Pixels per metre at nearness 1."""
    near_m: float
    """Distance in metres at nearness 1."""

    def x(self, lateral: float, nearness: float) -> float:
        """Column of a point ``lateral`` metres right of the camera."""
        return self.vanish_x + lateral * self.metre * nearness

    def y(self, height: float, nearness: float) -> float:
        """Row of a point ``height`` metres above the ground."""
        return self.horizon + (self.size - self.horizon - height * self.metre) * nearness

    def metres(self, nearness: float) -> float:
        """Distance from the camera in metres."""
        return self.near_m / nearness

    def nearness(self, metres: float) -> float:
        """Nearness of a distance in metres."""
        return self.near_m / metres

    def lateral(self, x: float, nearness: float) -> float:
        """Metres right of the camera of column ``x`` at a nearness."""
        return (x - self.vanish_x) / (self.metre * nearness)


def draw_view(rng: np.random.Generator, size: int) -> View:
    """A random view of ``size`` x ``size`` pixels."""
    horizon = size * rng.uniform(0.30, 0.48)
    metre = (size - horizon) / rng.uniform(1.9, 2.6)
    return View(size, size * rng.uniform(0.25, 0.75), horizon, metre, size * rng.uniform(0.95, 1.25) / metre)
