"""One scene: a picture and its exact label from (seed, split, index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.scenes.camera import expose
from examples.scenes.canvas import Canvas
from examples.scenes.ground import Ground, draw_ground, paint_ground, paint_shadows
from examples.scenes.layout import draw_rows, draw_street
from examples.scenes.lighting import Light, add_haze, draw_light
from examples.scenes.nature import paint_hills, paint_sky
from examples.scenes.noise import NoiseBank
from examples.scenes.stage import Stage, Thing
from examples.scenes.view import View, draw_view

__all__ = ["SPLITS", "VERSION", "Place", "Scene", "draw_place", "draw_scene"]

SPLITS: tuple[str, ...] = ("train", "val", "test")
"""Split names; the position seeds the split."""

VERSION = 1
"""Raised whenever the same (seed, split, index) gives another scene."""


@dataclass(frozen=True)
class Scene:
    """``image`` uint8 (H, W, 3) RGB; ``label`` uint8 (H, W), positions in ``classes.CLASSES``."""

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """What is there to be seen: camera, light, ground, and the things on it, far ones first."""

    view: View
    light: Light
    ground: Ground
    things: tuple[Thing, ...]


def draw_place(rng: np.random.Generator, size: int) -> Place:
    """A random place, seen in ``size`` x ``size`` pixels."""
    view, light = draw_view(rng, size), draw_light(rng)
    ground = draw_ground(rng)
    rows, street = draw_rows(rng, view, ground), draw_street(rng, view, ground)
    return Place(view, light, ground, (*rows, *street))


def draw_scene(seed: int, split: str, index: int, size: int = 256) -> Scene:
    """Scene ``index`` of a split; it hangs on these arguments alone, not on what else is generated.

    Raises: ValueError for an unknown split, or a size below 64.
    """
    if split not in SPLITS:
        raise ValueError(f"split | {split!r} found, one of {', '.join(SPLITS)} expected | choose one of these")
    if size < 64:
        raise ValueError(f"size | {size} found, at least 64 expected | take a larger picture")
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    place = draw_place(rng, size)
    stage = Stage(Canvas(size), place.view, place.light, NoiseBank(rng), rng)
    view, light = place.view, place.light
    paint_sky(stage)
    if rng.random() < 0.7:
        paint_hills(stage)
    paint_ground(stage, place.ground)
    paint_shadows(stage, [thing.footprint for thing in place.things])
    for thing in place.things:
        thing.paint(stage)
    hazy = add_haze(stage.canvas.colour, stage.canvas.nearness, view.near_m, light)
    return Scene(expose(rng, hazy, light), stage.canvas.label)
