"""What stands where: the rows beside the street and the things on it."""

from __future__ import annotations

import numpy as np

from examples.scenes.ground import Ground
from examples.scenes.nature import draw_tree
from examples.scenes.people import draw_person
from examples.scenes.signs import draw_sign
from examples.scenes.stage import Footprint, Thing
from examples.scenes.structures import draw_building, draw_wall
from examples.scenes.vehicles import DIMENSIONS, draw_vehicle
from examples.scenes.view import View

__all__ = ["draw_rows", "draw_street"]

_PLOTS = (("building", 0.30), ("wall", 0.28), ("trees", 0.28), ("open", 0.14))
_STREET = (("person", 0.20), ("car", 0.17), ("bus", 0.20), ("truck", 0.17), ("sign", 0.26))
_NEAR = {"person": (0.62, 1.0), "car": (0.42, 0.8), "bus": (0.3, 0.52), "truck": (0.3, 0.52), "sign": (0.55, 0.95)}
_NEAR_ACROSS = {"car": (0.28, 0.5), "bus": (0.17, 0.27), "truck": (0.2, 0.3)}
_MIN_WIDTH = 36.0
"""Least width of a thing on the street, pixels of a picture 256 wide (a little over two 16-pixel tokens)."""


def _pick(rng: np.random.Generator, table: tuple[tuple[str, float], ...]) -> str:
    names, weights = zip(*table, strict=True)
    return str(rng.choice(names, p=np.asarray(weights) / sum(weights)))


def draw_rows(rng: np.random.Generator, view: View, ground: Ground) -> list[Thing]:
    """Buildings, walls and trees on both sides, far ones first; now and then something closes the street."""
    things: list[Thing] = []
    end_m = view.metres(0.11)
    if rng.random() < 0.2:
        reach = 16.0
        things.append(draw_building(rng, -reach * rng.uniform(0.3, 1), reach * rng.uniform(0.3, 1), end_m, end_m + 8))
    for side in (-1, 1):
        edge = ground.corridor[0 if side < 0 else 1]
        rows: list[Thing] = []
        metres = view.near_m * rng.uniform(0.7, 2.2)
        while metres < end_m:
            kind, setback = _pick(rng, _PLOTS), rng.uniform(0.0, 2.5)
            length = rng.uniform(9, 18) if kind in ("building", "wall") else rng.uniform(4, 8)
            depth = rng.uniform(7, 12) if kind == "building" else 0.45
            # Walls stand at the sidewalk: a strip of grass between would be thinner than a token.
            inner = edge + side * (0.0 if kind == "wall" else setback)
            # A row must stay on its own side of the camera, or its face along the street would be behind the camera.
            inner = max(inner, 0.6) if side > 0 else min(inner, -0.6)
            outer = inner + side * depth
            left, right = min(inner, outer), max(inner, outer)
            far = min(metres + length, end_m)
            if kind in ("wall", "trees") and view.nearness(metres) < 0.19:
                kind = "open"  # they would be slivers smaller than a token
            if kind == "building":
                rows.append(draw_building(rng, left, right, metres, far))
            elif kind == "wall":
                if rng.random() < 0.55:
                    rows.append(draw_tree(rng, inner + side * rng.uniform(1.8, 4), far - 0.2))
                rows.append(draw_wall(rng, left, right, metres, far))
            elif kind == "trees":
                for _ in range(int(rng.integers(1, 4))):
                    at = max(metres + rng.uniform(0, 1) * length, view.near_m * 1.6)
                    rows.append(draw_tree(rng, inner + side * rng.uniform(1.0, 5.0), at))
            metres = far + (rng.uniform(0.2, 1.2) if kind != "open" else 0.0)
        rows.sort(key=lambda thing: -thing.footprint.near_m)
        things.extend(rows)
    return things


def _strips(kind: str, across: bool, ground: Ground) -> list[tuple[float, float]]:
    """Where a kind may stand, lateral metres of its centre."""
    outer_left, outer_right = ground.corridor
    left, right = ground.road
    walks = [(outer_left + 0.3, left - 0.3), (right + 0.3, outer_right - 0.3)]
    if kind in ("bus", "truck", "car"):
        half = 0.0 if across else DIMENSIONS[kind][0] / 2
        return [(left + half, right - half)]
    if kind == "person":
        return [*walks, (left, right)]
    return [*walks, (outer_left - 0.5, outer_left), (outer_right, outer_right + 0.5)]


def _on_screen(view: View, box: Footprint) -> tuple[float, float, float, float]:
    near = view.nearness(box.near_m)
    left, right = max(0.0, view.x(box.left, near)), min(float(view.size), view.x(box.right, near))
    return left, max(0.0, view.y(box.height, near)), right, min(float(view.size), view.y(0, near))


def _hides(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Shared area as a share of the smaller rectangle."""
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    least = min((r[2] - r[0]) * (r[3] - r[1]) for r in (a, b))
    return max(0.0, wide) * max(0.0, tall) / max(least, 1.0)


def draw_street(rng: np.random.Generator, view: View, ground: Ground) -> list[Thing]:
    """Vehicles, people and signs, far ones first; partly hidden ones are kept, mostly hidden ones are not."""
    things: list[Thing] = []
    for _ in range(int(rng.integers(1, 5))):
        kind = _pick(rng, _STREET)
        for _attempt in range(6):
            across = kind in _NEAR_ACROSS and rng.random() < 0.45
            near = rng.uniform(*(_NEAR_ACROSS if across else _NEAR)[kind])
            strips = _strips(kind, across, ground)
            low, high = strips[int(rng.integers(0, len(strips)))]
            low, high = max(low, view.lateral(0.1 * view.size, near)), min(high, view.lateral(0.9 * view.size, near))
            if high <= low:
                continue
            lateral, metres = rng.uniform(low, high), view.metres(near)
            thing: Thing
            if kind == "person":
                thing = draw_person(rng, lateral, metres)
            elif kind == "sign":
                thing = draw_sign(rng, lateral, metres)
            else:
                thing = draw_vehicle(rng, kind, lateral, metres, across)
            box = _on_screen(view, thing.footprint)
            if box[2] - box[0] < _MIN_WIDTH * view.size / 256:
                continue
            if all(_hides(box, _on_screen(view, other.footprint)) < 0.45 for other in things):
                things.append(thing)
                break
    return sorted(things, key=lambda thing: -thing.footprint.near_m)
