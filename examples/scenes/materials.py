"""Surface materials over metric coordinates: brick, stone, concrete, plaster, and facades with windows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Facade", "Plane", "Surface", "any_colour", "draw_facade", "draw_surface"]

Plane = NDArray[np.float32]


def any_colour(rng: np.random.Generator, low: float = 0.12, high: float = 0.9, spread: float = 0.25) -> Plane:
    """A random RGB colour (3,): a brightness in low..high and up to ``spread`` of colour either way."""
    value = rng.uniform(low, high) + rng.uniform(-spread, spread, 3)
    return np.clip(value, 0.05, 0.97).astype(np.float32)


def _scatter(a: Plane, b: Plane) -> Plane:
    """A value in 0..1 per pair of cell numbers, without pattern to the eye."""
    mixed = (a.astype(np.int64) * 7919 + b.astype(np.int64) * 104729) * 2654435761 % 4294967296
    return (mixed / 4294967296).astype(np.float32)


@dataclass(frozen=True)
class Surface:
    """Plaster (no blocks), or courses of blocks with joints."""

    base: Plane
    block: tuple[float, float] | None
    """(length, height) of a block in metres."""
    joint: float
    """Brightness of the joints against the blocks."""
    uneven: float
    """How much blocks differ in brightness."""
    grain: float

    def shade(self, u: Plane, v: Plane, grain: Plane, detail: float) -> Plane:
        """Colour (h, w, 3) at metres (u along, v up); ``detail`` 0..1 fades joints that would alias."""
        bright = 1 + self.grain * grain
        if self.block is not None:
            course = np.floor(v / self.block[1])
            along = u / self.block[0] + 0.5 * (course % 2)
            column = np.floor(along)
            joint = ((v / self.block[1] - course) < 0.14) | ((along - column) < 0.14 * self.block[1] / self.block[0])
            bright = bright + self.uneven * (_scatter(course, column) - 0.5)
            bright = np.where(joint, bright * (1 + (self.joint - 1) * detail), bright)
        return (self.base * bright[..., None]).astype(np.float32)


def draw_surface(rng: np.random.Generator) -> Surface:
    """A random wall surface."""
    kind = rng.integers(0, 4)
    if kind == 0:  # brick, not always red
        base = any_colour(rng, 0.25, 0.6, 0.08) * np.asarray((1.15, 0.9, 0.8), np.float32)
        return Surface(base, (0.5, 0.17), float(rng.choice([0.65, 1.3])), 0.3, 0.12)
    if kind == 1:  # stone blocks
        return Surface(any_colour(rng, 0.3, 0.7, 0.07), (float(rng.uniform(0.5, 1.1)), 0.38), 0.6, 0.35, 0.18)
    if kind == 2:  # concrete panels
        return Surface(any_colour(rng, 0.35, 0.75, 0.04), (2.4, 1.3), 0.7, 0.06, 0.15)
    return Surface(any_colour(rng, 0.3, 0.85, 0.2), None, 1.0, 0.0, 0.1)


@dataclass(frozen=True)
class Facade:
    """A surface with rows of windows."""

    surface: Surface
    bay: float
    storey: float
    opening: tuple[float, float]
    """Half width and half height of a window as shares of bay and storey."""
    glass: Plane
    frame: Plane
    ground_floor: Plane | None
    """Colour of a shop front at street level, or None for windows there too."""

    def shade(self, u: Plane, v: Plane, grain: Plane, detail: float) -> Plane:
        """Colour (h, w, 3) at metres (u along, v up)."""
        colour = self.surface.shade(u, v, grain, detail)
        bay, storey = np.floor(u / self.bay), np.floor(v / self.storey)
        across, up = np.abs(u / self.bay - bay - 0.5), np.abs(v / self.storey - storey - 0.55)
        half_w, half_h = self.opening
        rim = 0.1
        framed = (across < half_w + rim / self.bay) & (up < half_h + rim / self.storey)
        window = (across < half_w) & (up < half_h) & (across > 0.03 / self.bay)
        bright = (0.6 + 0.8 * _scatter(bay, storey) + 0.25 * grain)[..., None]
        colour = np.where(framed[..., None], self.frame, colour)
        colour = np.where(window[..., None], self.glass * bright, colour)
        if self.ground_floor is not None:
            shop = (v < self.storey * 0.95) & (v > 0.3)
            pane = shop & (across < 0.43) & (v < self.storey * 0.75)
            colour = np.where(shop[..., None], self.ground_floor * (1 + 0.1 * grain[..., None]), colour)
            colour = np.where(pane[..., None], self.glass * bright * 0.8, colour)
        return colour.astype(np.float32)


def draw_facade(rng: np.random.Generator) -> Facade:
    """A random facade."""
    surface = draw_surface(rng)
    return Facade(
        surface=replace(surface, uneven=surface.uneven * 0.7),
        bay=float(rng.uniform(1.5, 2.8)),
        storey=float(rng.uniform(2.3, 3.1)),
        opening=(float(rng.uniform(0.22, 0.36)), float(rng.uniform(0.2, 0.32))),
        glass=any_colour(rng, 0.12, 0.5, 0.08),
        frame=any_colour(rng, 0.2, 0.95, 0.05),
        ground_floor=any_colour(rng) if rng.random() < 0.35 else None,
    )
