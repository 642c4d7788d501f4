"""What a model sees of a photograph: timm's own evaluation transform, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from edgeexport.inputs.framing import framed_photo, seen_part
from edgeexport.inputs.photos import open_photo, shipped_photos
from edgeexport.inputs.spec import Crop, InputSpec

PHOTO = open_photo(shipped_photos()[0])


@pytest.mark.parametrize("size", [(333, 500), (641, 480), (225, 224), (60, 400)])
@pytest.mark.parametrize("sides", [(64, 64), (48, 80)])
@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize(("pct", "interpolation"), [(0.9, "bicubic"), (0.875, "bilinear"), (1.0, "bicubic")])
def test_a_photograph_is_cropped_as_timm_does(size, sides, mode, pct, interpolation):
    photo = PHOTO.resize(size)
    timm = create_transform(
        (3, *sides), crop_pct=pct, crop_mode=mode, interpolation=interpolation, normalize=False, use_prefetcher=False
    )
    spec = InputSpec(1, *sides, None, crop=Crop(pct, mode, interpolation))
    expected = timm(photo).numpy().transpose(1, 2, 0)
    assert np.array_equal(np.asarray(framed_photo(photo, spec)), expected)


def test_without_a_crop_the_whole_photograph_is_squashed():
    spec = InputSpec(1, 32, 48, None)
    assert framed_photo(PHOTO, spec) == PHOTO.resize((48, 32), Image.Resampling.BILINEAR)
    assert seen_part(PHOTO, spec) is PHOTO


@pytest.mark.parametrize("mode", ["center", "squash"])
def test_pictures_are_drawn_on_the_part_that_is_seen(mode):
    spec = InputSpec(1, 64, 64, None, crop=Crop(0.8, mode, "bilinear"))
    part = seen_part(PHOTO, spec)
    assert part.width < PHOTO.width and part.height < PHOTO.height
    if mode == "center":
        assert part.width == pytest.approx(0.8 * min(PHOTO.size), abs=1) == part.height
    shown = np.asarray(part.resize((64, 64), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(shown - np.asarray(framed_photo(PHOTO, spec), dtype=float)).mean() < 4


@pytest.mark.parametrize("size", [(1, 60000), (60000, 1)])
def test_a_sliver_is_not_blown_up_in_memory(size):
    spec = InputSpec(1, 224, 224, None, crop=Crop(0.9, "center", "bicubic"))
    assert framed_photo(Image.new("RGB", size, (9, 8, 7)), spec).getpixel((5, 5)) == (9, 8, 7)
