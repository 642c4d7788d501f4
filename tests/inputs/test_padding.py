"""Photographs that are padded to the model's size, as mmsegmentation's test pipeline and preprocessor bring them there."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeexport.inputs.framing import covered, framed_photo, padded_labels, seen_part, without_padding
from edgeexport.inputs.spec import Crop, InputSpec, Preprocess

_MEAN = Preprocess((10.0, 20.0, 30.0), (1.0, 1.0, 1.0), True)


def _spec(height: int, width: int) -> InputSpec:
    return InputSpec(1, height, width, _MEAN, crop=Crop(1.0, "pad", "bilinear"))


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    sides=st.tuples(st.integers(16, 2048), st.integers(16, 2048)),
)
def test_the_resized_size_is_mmcvs(size, sides):
    from mmcv.image import rescale_size

    height, width = covered(size, _spec(*sides))
    # mmcv's scale has no order, so the ratio that fits is given; it may round up to nothing where a side vanishes
    wanted = rescale_size(size, min(sides[1] / size[0], sides[0] / size[1]))
    assert (width, height) == (max(1, min(wanted[0], sides[1])), max(1, min(wanted[1], sides[0])))
    assert width == sides[1] or height == sides[0]


def test_the_photograph_stands_at_the_top_left_and_the_rest_is_the_mean():
    spec = _spec(64, 64)
    pixels = np.asarray(framed_photo(Image.new("RGB", (200, 100), (200, 0, 0)), spec))
    assert pixels.shape == (64, 64, 3)
    assert (pixels[:32] == (200, 0, 0)).all() and (pixels[32:] == (10, 20, 30)).all()
    assert without_padding(pixels[..., 0], (200, 100), spec).shape == (32, 64)
    assert seen_part(Image.new("RGB", (200, 100)), spec).size == (200, 200)


def test_labels_are_padded_as_the_photograph_is():
    label = np.arange(6, dtype=np.int64).reshape(2, 3)
    padded = padded_labels(label, _spec(64, 64), 255)
    assert padded.shape == (3, 3) and (padded[:2] == label).all() and (padded[2] == 255).all()
    squashed = InputSpec(1, 64, 64, _MEAN)
    assert padded_labels(label, squashed, 255) is label
    assert without_padding(padded, (3, 2), squashed) is not None and covered((3, 2), squashed) == (64, 64)
