"""Features as colours: three principal components by patch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgeexport.pictures.feature_colours import component_colours, draw_features, is_tokens, patches_of_features

RANDOM = np.random.default_rng(0)


def planted(height: int = 6, width: int = 8) -> np.ndarray:
    """A ramp along columns, a weaker one along rows, in orthogonal directions of ten channels."""
    directions, _ = np.linalg.qr(RANDOM.normal(size=(10, 10)))
    rows, columns = np.mgrid[:height, :width]
    return 9.0 * columns[..., None] * directions[0] + 2.0 * rows[..., None] * directions[1]


def test_components_are_the_directions_of_most_variance():
    colours, shares = component_colours(planted())
    red, green = colours[..., 0].astype(float), colours[..., 1].astype(float)
    assert (np.ptp(red, axis=0) <= 1).all() and (np.ptp(green, axis=1) <= 1).all()
    assert (
        abs(np.corrcoef(red[0], np.arange(8))[0, 1]) > 0.99 and abs(np.corrcoef(green[:, 0], np.arange(6))[0, 1]) > 0.95
    )
    assert shares[0] > 0.9 > shares[1] > shares[2] == pytest.approx(0, abs=1e-12)
    assert (colours[..., 2] == 128).all()


def test_colours_do_not_turn_with_the_features_sign():
    features = RANDOM.normal(size=(5, 5, 12)) ** 3
    rotated = features @ np.linalg.qr(RANDOM.normal(size=(12, 12)))[0] + 7
    assert np.abs(component_colours(features)[0].astype(int) - component_colours(rotated)[0]).max() <= 1


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((16, 24), True),
        ((18, 24), True),
        ((32, 24), True),
        ((33, 24), False),
        ((15, 24), False),
        ((16, 16), False),
        ((16,), False),
        ((1, 18, 24), False),
    ],
)
def test_tokens_are_told_by_their_number(shape, told):
    assert is_tokens(shape, (4, 4)) is told


@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 1, 6), (2, 2, 1)])
def test_even_features_are_grey(shape):
    assert (component_colours(np.full(shape, 3.0))[0] == 128).all()


def test_prefix_tokens_are_no_patches():
    tokens = np.arange(14 * 5, dtype=np.float32).reshape(14, 5)
    by_patch = patches_of_features(tokens, (3, 4))
    assert np.array_equal(by_patch.reshape(12, 5), tokens[2:])
    assert np.array_equal(patches_of_features(by_patch.transpose(2, 0, 1), (3, 4)), by_patch)


def test_the_picture_stands_beside_the_photograph():
    drawn = draw_features(Image.new("RGB", (40, 30), (10, 20, 30)), planted(), title="x", notice="y")
    assert drawn.width > 2 * 1024 and drawn.getpixel((5, 5)) == (10, 20, 30)
