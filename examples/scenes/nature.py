"""Sky, hills and trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.scenes.materials import Plane
from examples.scenes.stage import Footprint, Stage

__all__ = ["Tree", "draw_tree", "foliage_colour", "paint_hills", "paint_sky"]


def foliage_colour(rng: np.random.Generator) -> Plane:
    """Green to yellow or brown, dark to light: shared by trees, grass and hills."""
    value, ripe = rng.uniform(0.2, 0.48), rng.uniform(0.0, 1.0)
    return (np.asarray((0.55 + 0.6 * ripe, 1.0, 0.45 - 0.1 * ripe), np.float32) * np.float32(value)).astype(np.float32)


def paint_sky(stage: Stage) -> None:
    """Gradient and clouds over the whole frame; everything else is painted over it."""
    rng, canvas = stage.rng, stage.canvas
    if stage.light.overcast:
        grey = rng.uniform(0.5, 0.8)
        top = np.asarray((grey * 0.95, grey, grey * 1.04), np.float32)
        cover, softness = rng.uniform(-0.3, 0.2), 1.0
    else:
        top = np.asarray((rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.65), rng.uniform(0.7, 0.95)), np.float32)
        cover, softness = rng.uniform(0.0, 0.9), rng.uniform(1.2, 3.0)
    bottom = np.asarray(stage.light.haze_colour, np.float32) * np.float32(1.15)
    down = np.clip(np.arange(canvas.size, dtype=np.float32) / np.float32(stage.view.horizon), 0, 1)[:, None, None]
    clouds = np.clip((stage.noise.cut("coarse", canvas.size, canvas.size, (1, 2)) - cover) * softness, 0, 1)[..., None]
    white = np.asarray((0.93, 0.94, 0.96), np.float32) * np.float32(rng.uniform(0.8, 1.05))
    colour = top + (bottom - top) * down
    canvas.colour[:] = colour + (white - colour) * clouds * np.float32(0.85)


def paint_hills(stage: Stage) -> None:
    """One or two ridges on the horizon."""
    rng, canvas, view = stage.rng, stage.canvas, stage.view
    ridges = int(rng.integers(1, 3))
    for ridge in range(ridges):
        tall = canvas.size * rng.uniform(0.10, 0.22) * (1.0 if ridge == ridges - 1 else 1.3)
        wave = stage.noise.cut("coarse", 1, canvas.size)[0]
        crest = view.horizon - np.maximum(tall * (0.7 + 0.55 * wave), 0.03 * canvas.size)
        window = canvas.window(0, float(crest.min()), canvas.size, view.horizon + 2)
        if window is None:
            continue
        x0, y0, x1, y1 = window
        rows = np.arange(y0, y1, dtype=np.float32)[:, None]
        mask = rows >= crest[None, :]
        base = foliage_colour(rng) if rng.random() < 0.6 else foliage_colour(rng).mean() * np.asarray((1.1, 1, 0.95))
        woods = stage.noise.cut("medium", y1 - y0, x1 - x0) * 0.25 + stage.noise.cut("coarse", y1 - y0, x1 - x0) * 0.3
        near = 0.045 if ridge == ridges - 1 else 0.03
        colour = (np.asarray(base, np.float32) * 0.9 * (1 + woods[..., None])).astype(np.float32)
        canvas.paint(window, mask, colour, "hill", near)


@dataclass(frozen=True)
class Tree:
    """A trunk and a crown of overlapping blobs with a ragged edge."""

    footprint: Footprint
    colour: Plane
    bark: Plane
    conifer: bool
    blobs: tuple[tuple[float, float, float], ...]
    """Crown blobs (x, y, radius) in shares of the crown's width."""

    def paint(self, stage: Stage) -> None:
        """Paint trunk, then crown."""
        view, box = stage.view, self.footprint
        near = view.nearness(box.near_m)
        scale = view.metre * near
        centre, base = view.x((box.left + box.right) / 2, near), view.y(0, near)
        tall, wide = box.height * scale, (box.right - box.left) * scale
        half_trunk = max(5.5 * view.size / 256, 0.09 * wide)
        window = stage.canvas.window(centre - wide * 0.65, base - tall, centre + wide * 0.65, base)
        if window is None:
            return
        x0, y0, x1, y1 = window
        x = (np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - centre)) / np.float32(wide)
        up = (np.float32(base - 0.5) - np.arange(y0, y1, dtype=np.float32)) / np.float32(tall)
        x, up = x[None, :], up[:, None]
        ragged = stage.noise.cut("medium", y1 - y0, x1 - x0)
        trunk = (np.abs(x) * np.float32(wide) < half_trunk * (1.15 - 0.3 * up)) & (up < 0.6)
        if self.conifer:
            tier = (up * 4) % 1
            inside = (1.0 - up) * (0.62 - 0.12 * tier) - np.abs(x) + 0.05 * ragged
            crown = (inside > 0) & (up > 0.16)
            lift = inside * 1.5 - 0.3 * tier
        else:
            aspect = np.float32(tall / wide)
            inside = np.full(ragged.shape, -1, np.float32)
            for cx, cy, radius in self.blobs:
                distance = ((x - cx) ** 2 + (up * aspect - cy * aspect) ** 2) / np.float32(radius * radius)
                inside = np.maximum(inside, 1 - distance)
            crown = inside + 0.28 * ragged > 0.0
            lift = 0.35 * inside + 0.35 * (up - 0.6)
        sun = np.float32(0.45 * stage.light.contrast * stage.light.sun_right)
        leaves = 0.9 + lift + sun * x + 0.3 * ragged + 0.25 * stage.noise.cut("fine", y1 - y0, x1 - x0)
        bright = np.float32(stage.light.front)
        round_bark = 0.9 + 0.3 * stage.noise.cut("fine", y1 - y0, x1 - x0, (3, 1)) + sun * x * 4
        trunk_colour = self.bark * np.clip(round_bark, 0.3, 1.6)[..., None] * bright
        stage.canvas.paint(window, trunk & ~crown, trunk_colour.astype(np.float32), "tree", near)
        crown_colour = self.colour * np.clip(leaves, 0.25, 2.0)[..., None] * bright
        stage.canvas.paint(window, crown, crown_colour.astype(np.float32), "tree", near)


def draw_tree(rng: np.random.Generator, lateral: float, near_m: float) -> Tree:
    """A random tree."""
    wide, tall = rng.uniform(3.4, 5.4), rng.uniform(4.6, 7.2)
    blobs = [(0.0, 0.62, 0.40)]
    for _ in range(int(rng.integers(3, 6))):
        blobs.append((float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.45, 0.8)), float(rng.uniform(0.2, 0.32))))
    bark = np.asarray((0.32, 0.25, 0.19), np.float32) * np.float32(rng.uniform(0.6, 1.5))
    footprint = Footprint(lateral - wide / 2, lateral + wide / 2, near_m, near_m + wide * 0.6, float(tall))
    return Tree(footprint, foliage_colour(rng), bark, bool(rng.random() < 0.25), tuple(blobs))
