"""Cars, buses and trucks: seen from the front, from behind, from the side, or as a box with two faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.scenes.materials import Plane, any_colour
from examples.scenes.solids import Shader, paint_side
from examples.scenes.sprite import Sprite, SpriteDrawing
from examples.scenes.stage import Footprint, Stage, paint_sprite

__all__ = ["DIMENSIONS", "Vehicle", "draw_vehicle"]

DIMENSIONS: dict[str, tuple[float, float, float]] = {
    "car": (1.9, 1.55, 4.2),
    "bus": (2.5, 2.9, 8.0),
    "truck": (2.5, 2.9, 6.5),
}
"""Width, height and length in metres."""


@dataclass(frozen=True)
class Paintwork:
    """The random look of one vehicle."""

    body: Plane
    second: Plane
    glass: Plane
    variant: int
    rear: bool


def _dark(drawing: SpriteDrawing) -> int:
    return drawing.colour((0.07, 0.07, 0.08))


def _wheels(drawing: SpriteDrawing, centres: tuple[float, ...], length: float, height: float, radius: float) -> None:
    tyre, hub = _dark(drawing), drawing.colour((0.45, 0.45, 0.47))
    for centre in centres:
        y = 1 - radius / height
        drawing.ellipse(centre, y, radius / length, radius / height, tyre)
        drawing.ellipse(centre, y, 0.55 * radius / length, 0.55 * radius / height, hub)


def _car_side(w: float, h: float, look: Paintwork) -> SpriteDrawing:
    d = SpriteDrawing(w, h)
    body, glass, trim = d.colour(look.body), d.colour(look.glass), d.colour(look.body * 0.6)
    tail = (0.02, 0.1, 0.18)[look.variant % 3]  # estate, hatchback, saloon
    d.poly(
        [
            (0.01, 0.86),
            (0.01, 0.5),
            (tail, 0.42),
            (tail + 0.1, 0.04),
            (0.62, 0.04),
            (0.76, 0.4),
            (0.97, 0.5),
            (0.99, 0.86),
        ],
        body,
    )
    d.rect(0.01, 0.72, 0.99, 0.86, trim)
    d.poly([(tail + 0.06, 0.42), (tail + 0.13, 0.11), (0.4, 0.11), (0.4, 0.42)], glass)
    d.poly([(0.43, 0.42), (0.43, 0.11), (0.6, 0.11), (0.71, 0.42)], glass)
    d.rect(0.94, 0.5, 0.985, 0.6, d.colour((0.95, 0.92, 0.75)))
    d.rect(0.01, 0.5, 0.05, 0.6, d.colour((0.7, 0.08, 0.06)))
    _wheels(d, (0.2, 0.79), 4.2, 1.55, 0.34)
    return d


def _car_front(w: float, h: float, look: Paintwork) -> SpriteDrawing:
    d = SpriteDrawing(w, h)
    dark = _dark(d)
    d.rect(0.06, 0.8, 0.24, 1.0, dark)
    d.rect(0.76, 0.8, 0.94, 1.0, dark)
    body, glass = d.colour(look.body), d.colour(look.glass)
    d.poly(
        [(0.22, 0.02), (0.78, 0.02), (0.93, 0.42), (1.0, 0.52), (1.0, 0.88), (0, 0.88), (0, 0.52), (0.07, 0.42)], body
    )
    d.poly([(0.26, 0.08), (0.74, 0.08), (0.86, 0.4), (0.14, 0.4)], glass)
    d.rect(0.0, 0.76, 1.0, 0.88, d.colour(look.body * 0.6))
    light = d.colour((0.75, 0.1, 0.08) if look.rear else (0.95, 0.93, 0.8))
    d.ellipse(0.13, 0.6, 0.1, 0.07, light)
    d.ellipse(0.87, 0.6, 0.1, 0.07, light)
    if not look.rear:
        d.rect(0.3, 0.58, 0.7, 0.7, dark)
    d.rect(0.38, 0.74, 0.62, 0.82, d.colour((0.85, 0.85, 0.75)))
    return d


def _bus_side(w: float, h: float, look: Paintwork) -> SpriteDrawing:
    d = SpriteDrawing(w, h)
    d.rect(0, 0, 1, 0.9, d.colour(look.body))
    d.rect(0, 0.6 if look.variant else 0.7, 1, 0.78, d.colour(look.second))
    glass = d.colour(look.glass)
    for pane in range(6):
        d.rect(0.025 + pane * 0.135, 0.16, 0.145 + pane * 0.135, 0.5, glass)
    d.rect(0.845, 0.14, 0.91, 0.86, d.colour(look.glass * 0.75))
    d.rect(0.93, 0.14, 1.0, 0.55, glass)
    _wheels(d, (0.2, 0.74), 8.0, 2.9, 0.48)
    return d


def _bus_front(w: float, h: float, look: Paintwork) -> SpriteDrawing:
    d = SpriteDrawing(w, h)
    dark, glass = _dark(d), d.colour(look.glass)
    d.rect(0.08, 0.88, 0.28, 1.0, dark)
    d.rect(0.72, 0.88, 0.92, 1.0, dark)
    d.rect(0, 0, 1, 0.94, d.colour(look.body))
    d.rect(0, 0.6 if look.variant else 0.7, 1, 0.78, d.colour(look.second))
    d.rect(0.22, 0.025, 0.78, 0.11, dark)
    for block in range(4):
        d.rect(0.28 + block * 0.12, 0.045, 0.36 + block * 0.12, 0.09, d.colour((0.95, 0.7, 0.15)))
    d.rect(0.06, 0.14, 0.94, 0.42 if look.rear else 0.56, glass)
    d.rect(0.49, 0.14, 0.51, 0.56, dark)
    light = d.colour((0.75, 0.1, 0.08) if look.rear else (0.95, 0.93, 0.8))
    d.ellipse(0.14, 0.8, 0.08, 0.05, light)
    d.ellipse(0.86, 0.8, 0.08, 0.05, light)
    return d


def _truck_side(w: float, h: float, look: Paintwork) -> SpriteDrawing:
    d = SpriteDrawing(w, h)
    dark = _dark(d)
    d.rect(0.02, 0.76, 0.98, 0.88, dark)
    d.rect(0.69, 0.25, 0.75, 0.8, dark)
    box = d.colour(look.second)
    d.rect(0, 0, 0.7, 0.8, box)
    if look.variant:
        stripe = d.colour(look.body)
        d.poly([(0.1, 0.55), (0.3, 0.2), (0.42, 0.2), (0.22, 0.55)], stripe)
        d.rect(0.36, 0.45, 0.62, 0.55, stripe)
    for seam in (0.0, 0.345, 0.69):
        d.rect(seam, 0, seam + 0.012, 0.8, d.colour(look.second * 0.6))
    d.poly([(0.73, 0.88), (0.73, 0.22), (0.91, 0.22), (0.995, 0.52), (0.995, 0.88)], d.colour(look.body))
    d.poly([(0.79, 0.52), (0.79, 0.29), (0.89, 0.29), (0.96, 0.52)], d.colour(look.glass))
    _wheels(d, (0.14, 0.3, 0.85), 6.5, 2.9, 0.5)
    return d


def _truck_front(w: float, h: float, look: Paintwork) -> SpriteDrawing:
    d = SpriteDrawing(w, h)
    dark = _dark(d)
    d.rect(0.05, 0.85, 0.27, 1.0, dark)
    d.rect(0.73, 0.85, 0.95, 1.0, dark)
    if look.rear:
        d.rect(0, 0, 1, 0.84, d.colour(look.second))
        seam = d.colour(look.second * 0.55)
        d.rect(0.485, 0.03, 0.515, 0.84, seam)
        for bar in (0.36, 0.6):
            d.rect(bar, 0.06, bar + 0.04, 0.8, seam)
        d.rect(0, 0.84, 1, 0.92, dark)
        red = d.colour((0.75, 0.1, 0.08))
        d.rect(0.03, 0.85, 0.2, 0.91, red)
        d.rect(0.8, 0.85, 0.97, 0.91, red)
        return d
    d.rect(0, 0, 1, 0.8, d.colour(look.second * 0.85))
    d.poly([(0.1, 0.2), (0.9, 0.2), (0.96, 0.5), (0.96, 0.93), (0.04, 0.93), (0.04, 0.5)], d.colour(look.body))
    d.poly([(0.14, 0.27), (0.86, 0.27), (0.9, 0.5), (0.1, 0.5)], d.colour(look.glass))
    for slat in range(3):
        d.rect(0.25, 0.58 + slat * 0.07, 0.75, 0.62 + slat * 0.07, dark)
    light = d.colour((0.95, 0.93, 0.8))
    d.rect(0.08, 0.74, 0.2, 0.83, light)
    d.rect(0.8, 0.74, 0.92, 0.83, light)
    return d


_SIDES = {"car": _car_side, "bus": _bus_side, "truck": _truck_side}
_FRONTS = {"car": _car_front, "bus": _bus_front, "truck": _truck_front}


@dataclass(frozen=True)
class Vehicle:
    """A vehicle; ``across`` ones show their side only (they cross or are parked across the view)."""

    kind: str
    footprint: Footprint
    across: bool
    mirrored: bool
    look: Paintwork

    def paint(self, stage: Stage) -> None:
        """Paint the face along the street, if seen, then the face towards the camera."""
        view, box = stage.view, self.footprint
        near = view.nearness(box.near_m)
        scale = view.metre * near
        wide, tall = (box.right - box.left) * scale, box.height * scale
        centre, base = view.x((box.left + box.right) / 2, near), view.y(0, near)
        if self.across:
            sprite = _SIDES[self.kind](wide, tall, self.look).sprite(self.mirrored)
        else:
            flank = _SIDES[self.kind](256, 96, self.look).sprite(self.look.rear)
            if self.kind != "car":  # a car tapers: seen from the front its flank is hidden
                paint_side(stage, box, self.kind, self._flank(flank))
            sprite = _FRONTS[self.kind](wide, tall, self.look).sprite()
        paint_sprite(stage, sprite, centre, base, self.kind, near, stage.light.front, rounded=0.15, grain=0.05)

    def _flank(self, sprite: Sprite) -> Shader:
        """A shader that looks the side view up; its right end (the vehicle's nose) is at u = 0 unless mirrored."""
        rows, columns = sprite.parts.shape
        length = self.footprint.far_m - self.footprint.near_m

        def shade(u: Plane, v: Plane, grain: Plane, detail: float) -> tuple[Plane, NDArray[np.bool_]]:
            column = np.clip(((1 - u / np.float32(length)) * columns).astype(np.int64), 0, columns - 1)
            row = np.clip(((1 - v / np.float32(self.footprint.height)) * rows).astype(np.int64), 0, rows - 1)
            parts = sprite.parts[row, column]
            return sprite.colours[parts] * (1 + np.float32(0.06) * grain[..., None]), parts > 0

        return shade


def draw_vehicle(rng: np.random.Generator, kind: str, lateral: float, near_m: float, across: bool) -> Vehicle:
    """A random vehicle of a kind, centred at ``lateral`` metres, its near face ``near_m`` metres away."""
    width, height, length = (value * float(rng.uniform(0.92, 1.12)) for value in DIMENSIONS[kind])
    half = (length if across else width) / 2
    footprint = Footprint(lateral - half, lateral + half, near_m, near_m + (width if across else length), height)
    look = Paintwork(
        body=any_colour(rng),
        second=any_colour(rng),
        glass=any_colour(rng, 0.1, 0.35, 0.05),
        variant=int(rng.integers(0, 3)),
        rear=bool(rng.random() < 0.5),
    )
    return Vehicle(kind, footprint, across, bool(rng.random() < 0.5), look)
