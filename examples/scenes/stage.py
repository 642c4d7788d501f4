"""What every painter needs: canvas, view, light, noise and the scene's random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from examples.scenes.canvas import Canvas
from examples.scenes.lighting import Light
from examples.scenes.noise import NoiseBank
from examples.scenes.sprite import Sprite
from examples.scenes.view import View

__all__ = ["Footprint", "Stage", "Thing", "detail_at", "paint_sprite"]


@dataclass(frozen=True)
class Stage:
    """The scene under construction."""

    canvas: Canvas
    view: View
    light: Light
    noise: NoiseBank
    rng: np.random.Generator


@dataclass(frozen=True)
class Footprint:
    """The ground that a thing stands on: lateral metres, distances in metres, and its height in metres."""

    left: float
    right: float
    near_m: float
    far_m: float
    height: float


class Thing(Protocol):
    """Anything that stands on the ground."""

    @property
    def footprint(self) -> Footprint:
        """Where it stands."""
        ...

    def paint(self, stage: Stage) -> None:
        """Paint it over what lies behind."""
        ...


def detail_at(view: View, nearness: float) -> float:
    """How much of a pattern of about 0.1 m is visible at a nearness, 0..1."""
    return float(np.clip(view.metre * nearness / 25, 0.1, 1.0))


def paint_sprite(
    stage: Stage,
    sprite: Sprite,
    centre: float,
    base: float,
    name: str,
    nearness: float,
    bright: float = 1.0,
    rounded: float = 0.0,
    grain: float = 0.06,
) -> NDArray[np.bool_] | None:
    """Paint a sprite with its lower edge at row ``base``; ``rounded`` darkens the side away from the sun."""
    height, width = sprite.parts.shape
    left, top = round(centre - width / 2), round(base - height)
    window = stage.canvas.window(left, top, left + width, top + height)
    if window is None:
        return None
    x0, y0, x1, y1 = window
    parts = sprite.parts[y0 - top : y1 - top, x0 - left : x1 - left]
    across = ((np.arange(x0, x1, dtype=np.float32) - left) / width - 0.5) * np.float32(stage.light.sun_right)
    up = np.float32(0.08) - (np.arange(y0, y1, dtype=np.float32) - top) / height * np.float32(0.16)
    shade = bright * (1 + 2 * rounded * stage.light.contrast * across[None, :] + up[:, None])
    shade = shade + grain * stage.noise.cut("medium", y1 - y0, x1 - x0)
    colour = sprite.colours[parts] * shade[..., None].astype(np.float32)
    stage.canvas.paint(window, parts > 0, colour, name, nearness)
    return parts > 0
