"""Person-like figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.scenes.materials import Plane, any_colour
from examples.scenes.sprite import SpriteDrawing
from examples.scenes.stage import Footprint, Stage, paint_sprite

__all__ = ["Person", "draw_person"]


@dataclass(frozen=True)
class Person:
    """A chunky standing or walking figure."""

    footprint: Footprint
    top: Plane
    trousers: Plane
    skin: Plane
    hair: Plane
    stride: float
    bag: Plane | None
    skirt: bool
    mirrored: bool

    def paint(self, stage: Stage) -> None:
        """Paint the figure."""
        view, box = stage.view, self.footprint
        near = view.nearness(box.near_m)
        scale = view.metre * near
        d = SpriteDrawing((box.right - box.left) * scale, box.height * scale)
        top, legs, skin = d.colour(self.top), d.colour(self.trousers), d.colour(self.skin)
        sleeve, shoe = d.colour(self.top * 0.8), d.colour((0.1, 0.09, 0.09))
        s = self.stride
        d.poly([(0.2, 0.5), (0.54, 0.5), (0.46 - s, 0.97), (0.16 - s, 0.97)], legs)
        d.poly([(0.46, 0.5), (0.8, 0.5), (0.84 + s, 0.97), (0.54 + s, 0.97)], legs)
        d.rect(0.12 - s, 0.95, 0.46 - s, 1.0, shoe)
        d.rect(0.54 + s, 0.95, 0.88 + s, 1.0, shoe)
        if self.skirt:
            d.poly([(0.24, 0.48), (0.76, 0.48), (0.92, 0.8), (0.08, 0.8)], legs)
        if self.bag is not None:
            d.rect(0.0, 0.24, 0.3, 0.5, d.colour(self.bag))
        d.poly([(0.24, 0.2), (0.08, 0.24), (0.02 + s, 0.52), (0.2 + s, 0.54)], sleeve)
        d.poly([(0.76, 0.2), (0.92, 0.24), (0.98 - s, 0.52), (0.8 - s, 0.54)], sleeve)
        d.ellipse(0.11 + s, 0.55, 0.09, 0.03, skin)
        d.ellipse(0.89 - s, 0.55, 0.09, 0.03, skin)
        d.poly([(0.2, 0.19), (0.8, 0.19), (0.84, 0.56), (0.16, 0.56)], top)
        d.rect(0.42, 0.14, 0.58, 0.21, skin)
        d.ellipse(0.5, 0.085, 0.21, 0.083, d.colour(self.hair))
        d.ellipse(0.52, 0.1, 0.17, 0.064, skin)
        centre = view.x((box.left + box.right) / 2, near)
        paint_sprite(
            stage, d.sprite(self.mirrored), centre, view.y(0, near), "person", near, stage.light.front, rounded=0.4
        )


def draw_person(rng: np.random.Generator, lateral: float, near_m: float) -> Person:
    """A random figure centred at ``lateral`` metres, ``near_m`` metres away."""
    tall = float(rng.uniform(1.65, 2.05))
    half = tall * float(rng.uniform(0.22, 0.28))
    skin = np.asarray((0.8, 0.6, 0.48), np.float32) * np.float32(rng.uniform(0.4, 1.1))
    return Person(
        Footprint(lateral - half, lateral + half, near_m, near_m + 0.4, tall),
        top=any_colour(rng),
        trousers=any_colour(rng, 0.08, 0.6, 0.15),
        skin=skin,
        hair=any_colour(rng, 0.08, 0.45, 0.06),
        stride=float(rng.uniform(0.0, 0.1)),
        bag=any_colour(rng) if rng.random() < 0.35 else None,
        skirt=bool(rng.random() < 0.3),
        mirrored=bool(rng.random() < 0.5),
    )
