"""Signs: boards with graphics on short, broad posts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.scenes.materials import Plane, any_colour
from examples.scenes.sprite import SpriteDrawing
from examples.scenes.stage import Footprint, Stage, paint_sprite

__all__ = ["Sign", "draw_sign"]

_SHAPES = ("round", "triangle", "rectangle", "octagon")


@dataclass(frozen=True)
class Sign:
    """A board on a post."""

    footprint: Footprint
    shape: str
    post: float
    """Share of the height that is post."""
    border: Plane
    face: Plane
    ink: Plane
    graphic: int

    def paint(self, stage: Stage) -> None:
        """Paint post, border, face and graphics."""
        view, box = stage.view, self.footprint
        near = view.nearness(box.near_m)
        wide, tall = (box.right - box.left) * view.metre * near, box.height * view.metre * near
        d = SpriteDrawing(wide, tall)
        half_post = max(4.5 * view.size / 256 / wide, 0.09)
        d.rect(0.5 - half_post, 1 - self.post - 0.1, 0.5 + half_post, 1, d.colour((0.42, 0.42, 0.44)))
        board = 1 - self.post
        for inset, colour in ((0.0, self.border), (0.11, self.face)):
            self._board(d, inset, board, d.colour(colour))
        self._graphic(d, board, d.colour(self.ink))
        centre = view.x((box.left + box.right) / 2, near)
        paint_sprite(stage, d.sprite(), centre, view.y(0, near), "sign", near, stage.light.front, grain=0.04)

    def _board(self, d: SpriteDrawing, inset: float, board: float, part: int) -> None:
        x, y = inset, inset * board
        if self.shape == "round":
            d.ellipse(0.5, board / 2, 0.5 - x, board / 2 - y, part)
        elif self.shape == "triangle":
            d.poly([(0.5, 1.8 * y), (1 - 1.6 * x, board - y), (1.6 * x, board - y)], part)
        elif self.shape == "octagon":
            a, b = 0.29, 0.71
            points = [(a, 0.0), (b, 0.0), (1.0, a), (1.0, b), (b, 1.0), (a, 1.0), (0.0, b), (0.0, a)]
            d.poly([(x + (1 - 2 * x) * px, y + (board - 2 * y) * py) for px, py in points], part)
        else:
            d.rect(x * 0.7, y * 0.7, 1 - x * 0.7, board - y * 0.7, part)

    def _graphic(self, d: SpriteDrawing, board: float, part: int) -> None:
        middle = board * (0.66 if self.shape == "triangle" else 0.5)
        if self.graphic == 0:  # bar
            d.rect(0.24, middle - 0.07, 0.76, middle + 0.07, part)
        elif self.graphic == 1:  # arrow upwards
            d.rect(0.44, middle - 0.05, 0.56, middle + 0.2 * board, part)
            d.poly([(0.5, middle - 0.22 * board), (0.66, middle), (0.34, middle)], part)
        elif self.graphic == 2:  # lines of writing
            for line in range(3):
                y = middle + (line - 1) * 0.15 * board
                d.rect(0.26 + 0.05 * line, y - 0.03, 0.74 - 0.04 * line, y + 0.03, part)
        else:  # disc
            d.ellipse(0.5, middle, 0.17, 0.17 * board, part)


def draw_sign(rng: np.random.Generator, lateral: float, near_m: float) -> Sign:
    """A random sign centred at ``lateral`` metres, ``near_m`` metres away."""
    shape = _SHAPES[int(rng.integers(0, len(_SHAPES)))]
    wide = float(rng.uniform(1.15, 1.7)) * (1.2 if shape == "triangle" else 1.0)
    tall = wide * float(rng.uniform(0.75, 1.0) if shape == "rectangle" else 0.95)
    post = float(rng.uniform(0.2, 0.35))
    face = any_colour(rng, 0.5, 0.9, 0.3) if rng.random() < 0.6 else any_colour(rng, 0.1, 0.5, 0.3)
    ink = np.where(face.mean() > 0.5, np.float32(0.08), np.float32(0.92)) * np.ones(3, np.float32)
    border = any_colour(rng, 0.2, 0.8, 0.45)
    footprint = Footprint(lateral - wide / 2, lateral + wide / 2, near_m, near_m + 0.15, tall / (1 - post))
    return Sign(footprint, shape, post, border, face, ink.astype(np.float32), int(rng.integers(0, 4)))
