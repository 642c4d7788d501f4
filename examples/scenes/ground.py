"""The ground: road with markings, paved sidewalks, grass, in perspective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from examples.scenes.classes import class_index
from examples.scenes.materials import Plane
from examples.scenes.nature import foliage_colour
from examples.scenes.stage import Footprint, Stage

__all__ = ["Ground", "draw_ground", "paint_ground", "paint_shadows"]


@dataclass(frozen=True)
class Ground:
    """Strips along the street, lateral metres right of the camera."""

    road: tuple[float, float]
    walk_left: float
    """Width of the left sidewalk; 0 for none."""
    walk_right: float
    lanes: int
    slab: float
    asphalt: Plane
    paving: Plane
    turf: Plane
    marking: Plane
    dash_m: float

    @property
    def corridor(self) -> tuple[float, float]:
        """Outer edges of the sidewalks."""
        return self.road[0] - self.walk_left, self.road[1] + self.walk_right


def draw_ground(rng: np.random.Generator) -> Ground:
    """A random cross-section of a street."""
    width = rng.uniform(5.5, 8.5)
    # The camera stands on the road or on a sidewalk, so that each covers the foreground at times.
    centre = rng.uniform(-0.75, 0.75) * width
    walks = [0.0 if rng.random() < 0.3 else rng.uniform(2.2, 4.0) for _ in range(2)]
    grey = np.asarray((1.0, 1.0, 1.03), np.float32)
    return Ground(
        road=(centre - width / 2, centre + width / 2),
        walk_left=walks[0],
        walk_right=walks[1],
        lanes=int(rng.integers(1, 4)),
        slab=float(rng.uniform(0.5, 1.1)),
        asphalt=grey * np.float32(rng.uniform(0.2, 0.48)),
        paving=np.asarray((rng.uniform(0.95, 1.2), 1.0, rng.uniform(0.8, 1.02)), np.float32)
        * np.float32(rng.uniform(0.38, 0.68)),
        turf=foliage_colour(rng) * np.float32(1.15),
        marking=np.asarray((0.85, 0.84, 0.8 if rng.random() < 0.7 else 0.35), np.float32),
        dash_m=float(rng.uniform(2.0, 4.5)),
    )


def paint_ground(stage: Stage, ground: Ground, travelled: float = 0.0) -> None:
    """Paint all ground below the horizon, seen from ``travelled`` metres further along the street."""
    view, canvas = stage.view, stage.canvas
    window = canvas.window(0, view.horizon + 1, view.size, view.size)
    if window is None:
        return
    _, y0, _, y1 = window
    t = ((np.arange(y0, y1, dtype=np.float32) + 0.5 - np.float32(view.horizon)) / np.float32(view.size - view.horizon))[
        :, None
    ]
    column = np.arange(view.size, dtype=np.float32)[None, :] + np.float32(0.5 - view.vanish_x)
    lateral = column / (np.float32(view.metre) * t)
    metres = np.float32(view.near_m) / t + np.float32(travelled)
    detail = np.clip(t * np.float32(2.2), 0.15, 1)
    rows = np.broadcast_to((metres * 30).astype(np.int64), lateral.shape)
    columns = (lateral * 60).astype(np.int64)
    fine = stage.noise.at("fine", rows, columns) * detail
    worn = stage.noise.at("coarse", rows // 4, columns // 6)

    left, right = ground.road
    on_road = (lateral >= left) & (lateral < right)
    outer_left, outer_right = ground.corridor
    on_walk = ~on_road & (lateral >= outer_left) & (lateral < outer_right)

    blades = stage.noise.cut("fine", *lateral.shape) * 0.22 + fine * 0.22 + worn * 0.2
    colour = ground.turf * (1 + blades)[..., None]

    across, along = np.floor(lateral / ground.slab), np.floor(metres / ground.slab)
    joint = (lateral / ground.slab - across < 0.07) | (metres / ground.slab - along < 0.07)
    tone = 0.06 * ((across.astype(np.int64) * 7 + along.astype(np.int64) * 5) % 3 - 1)
    stone = (1 + tone * detail + 0.1 * fine + 0.1 * worn) * np.where(joint, 1 - 0.35 * detail, 1)
    # The outermost slabs of a walk are its kerb: lighter, and as high in contrast as real ones.
    kerb = ((lateral > left - 0.2) & (lateral < left)) | ((lateral >= right) & (lateral < right + 0.2))
    stone = np.where(kerb, 1.25, stone)
    colour = np.where(on_walk[..., None], ground.paving * stone[..., None], colour)

    tar = ground.asphalt * (1 + 0.16 * fine + 0.14 * worn)[..., None]
    lane = (lateral - left) / np.float32((right - left) / ground.lanes)
    nearest = np.floor(lane + 0.5)
    line = np.abs(lane - nearest) * np.float32((right - left) / ground.lanes) < 0.08
    inner = (nearest > 0.5) & (nearest < ground.lanes - 0.5)
    dashed = (metres % np.float32(2 * ground.dash_m)) < ground.dash_m
    edge = ((lateral > left + 0.15) & (lateral < left + 0.3)) | ((lateral > right - 0.3) & (lateral < right - 0.15))
    painted = (line & inner & dashed) | (edge & (ground.lanes > 1))
    wear = np.clip(0.85 + 0.25 * worn, 0, 1)[..., None]
    tar = np.where(painted[..., None], tar + (ground.marking - tar) * wear, tar)
    colour = np.where(on_road[..., None], tar, colour)

    part = slice(y0, y1)
    canvas.colour[part] = colour
    canvas.label[part] = np.where(
        on_road, class_index("road"), np.where(on_walk, class_index("sidewalk"), class_index("grass"))
    )
    canvas.nearness[part] = t


def paint_shadows(stage: Stage, footprints: list[Footprint]) -> None:
    """Darken the ground where things stand in the sun's way; labels stay."""
    view, light = stage.view, stage.light
    image = Image.new("L", (view.size, view.size))
    draw = ImageDraw.Draw(image)
    for box in footprints:
        right = -light.sun_right * light.reach * box.height
        away = light.sun_behind * light.reach * box.height
        steps = 4
        for step in range(steps + 1):  # a shadow is the footprint swept along the ground
            shift, depth = right * step / steps, away * step / steps
            near_m, far_m = max(box.near_m + depth, view.near_m * 0.5), max(box.far_m + depth, view.near_m * 0.55)
            quad = [(box.left, near_m), (box.right, near_m), (box.right, far_m), (box.left, far_m)]
            points = [(view.x(a + shift, view.nearness(m)), view.y(0, view.nearness(m))) for a, m in quad]
            draw.polygon(points, fill=255)
    soft = image.filter(ImageFilter.BoxBlur(view.size / 256 * (5 if light.overcast else 2)))
    strength = np.float32(0.55 * light.contrast / 255)
    y0 = max(0, int(np.ceil(view.horizon + 0.5)))
    stage.canvas.colour[y0:] *= 1 - strength * np.asarray(soft, np.float32)[y0:, :, None]
