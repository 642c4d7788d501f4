"""A scene from a camera that drives along the street: the frames of a video, each with its exact label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from examples.scenes.camera import expose
from examples.scenes.canvas import Canvas
from examples.scenes.ground import paint_ground, paint_shadows
from examples.scenes.lighting import add_haze
from examples.scenes.nature import paint_hills, paint_sky
from examples.scenes.noise import NoiseBank
from examples.scenes.scene import SPLITS, Scene, draw_place
from examples.scenes.stage import Footprint, Stage, Thing
from examples.scenes.view import View

__all__ = ["METRES_PER_FRAME", "draw_frame"]

METRES_PER_FRAME = (0.35, 0.9)
"""What a sequence's speed is drawn from; filmed at 10 frames a second these are 13 to 32 km/h."""

_CLOSEST = 0.5
"""Least distance of what is drawn, in distances of the picture's lower edge; what comes closer is cut off there, or gone."""

_STEPS, _SKY, _CAMERA, _FRAME, _THINGS = range(5)  # what the generators of a sequence are for


def draw_frame(seed: int, split: str, index: int, frame: int, size: int = 256) -> Scene:
    """Frame ``frame`` (from 0) of the place that scene ``index`` of a split shows; it hangs on these arguments alone.

    The camera drives ahead at a constant speed. Sky and hills are far enough to stay; textures stay on what they are on.

    Raises: ValueError for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split | {split!r} found, one of {', '.join(SPLITS)} expected | choose one of these")
    key = (seed, SPLITS.index(split), index)
    place = draw_place(np.random.default_rng(key), size)

    def generator(purpose: int, number: int = 0) -> np.random.Generator:
        return np.random.default_rng((*key, purpose, number))

    travelled = frame * float(generator(_STEPS).uniform(*METRES_PER_FRAME))
    sky = generator(_SKY)
    noise = NoiseBank(sky)
    stage = Stage(Canvas(size), place.view, place.light, noise, sky)
    paint_sky(stage)
    if sky.random() < 0.7:
        paint_hills(stage)
    paint_ground(stage, place.ground, travelled)
    things = [
        (number, moved)
        for number, thing in enumerate(place.things)
        if (moved := _closer(thing, travelled, place.view)) is not None
    ]
    paint_shadows(stage, [thing.footprint for _, thing in things])
    for number, thing in things:
        own = generator(_THINGS, number)
        thing.paint(replace(stage, noise=noise.with_cuts_from(own), rng=own))
    hazy = add_haze(stage.canvas.colour, stage.canvas.nearness, place.view.near_m, place.light)
    return Scene(expose(generator(_CAMERA), hazy, place.light, generator(_FRAME, frame)), stage.canvas.label)


def _closer(thing: Thing, metres: float, view: View) -> Thing | None:
    """The thing ``metres`` nearer to the camera; None once it has been passed."""
    box, least = thing.footprint, _CLOSEST * view.near_m
    near_m, far_m = box.near_m - metres, box.far_m - metres
    if far_m <= least or (near_m < least and box.left <= 0 <= box.right):
        return None
    moved: Footprint = replace(box, near_m=max(near_m, least), far_m=far_m)
    return cast(Thing, replace(cast(Any, thing), footprint=moved))
