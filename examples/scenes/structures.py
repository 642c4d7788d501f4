"""Buildings and low walls beside the street."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from examples.scenes.materials import Facade, Surface, any_colour, draw_facade, draw_surface
from examples.scenes.solids import Plane, paint_front, paint_side
from examples.scenes.stage import Footprint, Stage

__all__ = ["Building", "Wall", "draw_building", "draw_wall"]


@dataclass(frozen=True)
class Building:
    """A box with facades; ``roof_m`` above 0 gives a pitched roof with its ridge along the street."""

    footprint: Footprint
    facade: Facade
    roof_m: float
    roof_colour: Plane

    def paint(self, stage: Stage) -> None:
        """Paint roof, the side along the street, then the front."""
        box, width = self.footprint, self.footprint.right - self.footprint.left

        def shade(u: Plane, v: Plane, grain: Plane, detail: float) -> tuple[Plane, None]:
            return self.facade.shade(u, v, grain, detail), None

        def gable(u: Plane, v: Plane, grain: Plane, detail: float) -> tuple[Plane, NDArray[np.bool_]]:
            top = box.height + self.roof_m * (1 - np.abs(2 * u / width - 1))
            wall = self.facade.shade(u, np.minimum(v, np.float32(box.height)), grain, detail)
            roof = self.roof_colour * (1 + 0.15 * grain[..., None])
            edge = (v > top - 0.35) & (v > box.height - 0.1)
            return np.where(edge[..., None], roof, wall).astype(np.float32), v <= top

        if self.roof_m > 0:
            self._paint_roof(stage)
        paint_side(stage, box, "building", shade)
        paint_front(stage, box, "building", gable if self.roof_m > 0 else shade, self.roof_m)

    def _paint_roof(self, stage: Stage) -> None:
        view, box = stage.view, self.footprint
        eaves = box.left if box.left > 0 else box.right
        ridge = (box.left + box.right) / 2
        near, far = view.nearness(box.near_m), view.nearness(box.far_m)
        corners = [(eaves, box.height, far), (eaves, box.height, near)]
        corners += [(ridge, box.height + self.roof_m, near), (ridge, box.height + self.roof_m, far)]
        points = [(view.x(a, t), view.y(h, t)) for a, h, t in corners]
        xs, ys = zip(*points, strict=True)
        window = stage.canvas.window(min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        if window is None:
            return
        x0, y0, x1, y1 = window
        image = Image.new("L", (x1 - x0, y1 - y0))
        ImageDraw.Draw(image).polygon([(x - x0, y - y0) for x, y in points], fill=1)
        mask = np.asarray(image) > 0
        bright = np.float32(stage.light.side(faces_right=eaves < 0)) * (
            1 + np.float32(0.2) * stage.noise.cut("medium", mask.shape[0], mask.shape[1], (1, 2))
        )
        stage.canvas.paint(window, mask, self.roof_colour * bright[..., None], "building", (near + far) / 2)


@dataclass(frozen=True)
class Wall:
    """A free-standing wall of one surface with a coping."""

    footprint: Footprint
    surface: Surface
    coping: Plane

    def paint(self, stage: Stage) -> None:
        """Paint the side along the street, then the end."""

        def shade(u: Plane, v: Plane, grain: Plane, detail: float) -> tuple[Plane, None]:
            colour = self.surface.shade(u, v, grain, detail)
            top = (v > self.footprint.height - 0.14)[..., None]
            return np.where(top, self.coping * (1 + 0.1 * grain[..., None]), colour).astype(np.float32), None

        paint_side(stage, self.footprint, "wall", shade)
        paint_front(stage, self.footprint, "wall", shade)


def draw_building(rng: np.random.Generator, left: float, right: float, near_m: float, far_m: float) -> Building:
    """A random building on a plot."""
    pitched = rng.random() < 0.5 and not left <= 0 <= right
    facade = draw_facade(rng)
    storeys = int(rng.integers(2, 4)) if pitched else int(rng.integers(2, 6))
    footprint = Footprint(left, right, near_m, far_m, facade.storey * storeys + 0.4)
    return Building(
        footprint, facade, float(rng.uniform(1.5, 3.0)) if pitched else 0.0, any_colour(rng, 0.15, 0.5, 0.15)
    )


def draw_wall(rng: np.random.Generator, left: float, right: float, near_m: float, far_m: float) -> Wall:
    """A random wall on a strip."""
    footprint = Footprint(left, right, near_m, far_m, float(rng.uniform(1.8, 3.0)))
    return Wall(footprint, draw_surface(rng), any_colour(rng, 0.25, 0.8, 0.05))
