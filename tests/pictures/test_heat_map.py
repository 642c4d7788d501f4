"""A decoder's map beside its photograph."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgeexport.pictures.heat_map import draw_heat_map, heat_size

PHOTO = Image.new("RGB", (40, 40), (10, 20, 30))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((4, 6), (4, 6)), ((1, 4, 6), (4, 6)), ((3, 4, 6), None), ((24,), None), ((17, 1), None), ((1, 1, 4, 6), None)],
)
def test_a_map_has_one_value_per_place(shape, size):
    assert heat_size(shape) == size


def test_the_largest_value_is_the_lightest_place():
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[3, 0], heat[0, 3] = 5.0, np.nan
    drawn = np.asarray(draw_heat_map(PHOTO, heat, name="saliency", title="x", notice="y"), dtype=int)
    side = 1024
    right = drawn[:side, -side:].sum(axis=2)
    assert tuple(drawn[5, 5]) == (10, 20, 30)
    assert right[-5, 5] == right.max() == 250 + 245 + 170
    assert right[5, -5] == right.min() == 12 + 10 + 60


def test_an_even_map_is_dark():
    drawn = np.asarray(draw_heat_map(PHOTO, np.full((2, 2), 3.0), name="x"))
    assert tuple(drawn[5, -5]) == (12, 10, 60)
