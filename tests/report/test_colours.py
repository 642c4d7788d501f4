"""Colours of the drawings can be told apart without red or green cones, on a light and on a dark page."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexport.report

CSS = Path(edgeexport.report.__file__).with_name("report.css").read_text(encoding="utf-8")
LIGHT, DARK = CSS.split("@media (prefers-color-scheme: dark)")[:2]

# What stands in one drawing.
TOGETHER = {
    "tokens": ("blue", "orange", "purple", "green"),
    "work": ("blue", "orange", "sky", "green", "grey"),
    "layers": ("blue", "orange", "green", "grey"),
}
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "all cones": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
LEAST = 15.0  # CIE 1976; a just noticeable difference is 2.3


def _linear(css: str, name: str) -> NDArray[np.float64]:
    found = re.search(rf"--{name}: #([0-9a-f]{{6}});", css)
    assert found, name
    levels = np.array([int(found[1][at : at + 2], 16) for at in (0, 2, 4)]) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def _lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    xyz = TO_XYZ @ np.clip(linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(css: str, names: tuple[str, ...], sight: NDArray[np.float64]) -> tuple[float, str]:
    """The smallest distance between two of the colours, and which they are."""
    colours = {name: _lab(sight @ _linear(css, name)) for name in names}
    return min(
        (float(np.linalg.norm(colours[a] - colours[b])), f"{a} {b}") for a, b in itertools.combinations(names, 2)
    )


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("names", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("css", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_of_a_drawing_can_be_told_apart(css: str, names: tuple[str, ...], sight: str) -> None:
    distance, pair = nearest(css, names, SIGHT[sight])
    assert distance >= LEAST, pair


def test_the_check_can_fail() -> None:
    red_and_green = "--a: #c44e52; --b: #55803a;"
    assert nearest(red_and_green, ("a", "b"), SIGHT["all cones"])[0] > 60
    assert nearest(red_and_green, ("a", "b"), SIGHT["no green"])[0] < LEAST
