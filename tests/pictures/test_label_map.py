from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeexport.pictures.label_map import class_shares, label_image, palette_for, resized_class_map


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(1, 30))
def test_resize_takes_the_pixel_under_each_centre(rows: int, columns: int, height: int, width: int) -> None:
    class_map = np.arange(rows * columns).reshape(rows, columns)
    found = resized_class_map(class_map, height, width)
    for y in range(height):
        for x in range(width):
            assert found[y, x] == class_map[int((y + 0.5) * rows / height), int((x + 0.5) * columns / width)]


@pytest.mark.parametrize(("num_classes", "mode"), [(3, "P"), (256, "P"), (257, "I;16"), (None, "I;16")])
def test_png_keeps_class_numbers(num_classes: int | None, mode: str) -> None:
    largest = 2 if num_classes == 3 else (num_classes or 5000) - 1
    class_map = np.array([[0, 1, 2], [largest, 0, 1]])
    content = io.BytesIO()
    label_image(class_map, num_classes, ((1, 2, 3),)).save(content, "PNG")
    with Image.open(content) as image:
        assert image.mode == mode
        assert np.array_equal(np.asarray(image), class_map)
        if mode == "P":
            assert image.convert("RGB").getpixel((0, 0)) == (1, 2, 3)


def test_missing_colours_are_generated_and_differ() -> None:
    colours = palette_for(20, ((1, 2, 3), (4, 5, 6)))
    assert colours[:2] == ((1, 2, 3), (4, 5, 6)) and len(set(colours)) == 20
    assert palette_for(1, ((1, 2, 3), (4, 5, 6))) == ((1, 2, 3),)


def test_shares_are_sorted_and_sum_to_one() -> None:
    shares = class_shares(np.array([[2, 2, 0, 5], [2, 7, 7, 2]]), ("wall", "sky", "tree"))
    assert [(entry.index, entry.name, entry.share) for entry in shares] == [
        (2, "tree", 0.5),
        (7, "class 7", 0.25),
        (0, "wall", 0.125),
        (5, "class 5", 0.125),
    ]
