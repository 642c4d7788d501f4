"""Batches to check a model on: every image of a batch differs, and so do the batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeexport.errors import ImageError
from edgeexport.inputs.batches import ImageBatch, image_batches
from edgeexport.inputs.photos import context_from_photo, input_from_photo, open_photo
from edgeexport.inputs.spec import InputSpec, Preprocess

RULE = Preprocess((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), bgr_to_rgb=True)


def spec(batch: int, *, normalised: bool) -> InputSpec:
    return InputSpec(batch, 16, 32, None if normalised else RULE)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8, 14])
def test_all_images_of_a_batch_differ_also_beyond_the_photographs(
    photos: list[Path], batch: int, normalised: bool
) -> None:
    rule = spec(batch, normalised=normalised)
    batches = list(image_batches(rule, photos))
    assert len(batches) == len(photos)
    for item in batches:
        assert item.pixels.shape == ((batch, 3, 16, 32) if normalised else (batch, 16, 32, 3))
        assert item.pixels.dtype == (np.float32 if normalised else np.uint8)
        assert len(set(item.names)) == len(item.names) == batch
        assert len({image.tobytes() for image in item.pixels}) == batch
    for position in range(batch):  # no two batches with the same image in the same place
        assert len({item.pixels[position].tobytes() for item in batches}) == len(batches)
        assert len({item.names[position] for item in batches}) == len(batches)


@pytest.mark.parametrize("normalised", [True, False])
def test_first_round_is_the_photographs_in_turn(photos: list[Path], normalised: bool) -> None:
    rule = spec(2, normalised=normalised)
    batches = list(image_batches(rule, photos))
    assert [item.names for item in batches] == [("a.png", "b.png"), ("b.png", "c.png"), ("c.png", "a.png")]
    for number, path in enumerate(photos):
        expected = input_from_photo(open_photo(path), rule)
        assert np.array_equal(batches[number].pixels[0], expected)
        assert np.array_equal(batches[number - 1].pixels[1], expected)


@pytest.mark.parametrize("normalised", [True, False])
def test_second_round_is_mirrored_left_to_right(photos: list[Path], normalised: bool) -> None:
    (item,) = image_batches(spec(2, normalised=normalised), photos[:1])
    assert item.names == ("a.png", "a.png+1")
    columns = 2 if normalised else 1
    assert np.array_equal(item.pixels[1], np.flip(item.pixels[0], axis=columns))


def test_batches_are_made_as_they_are_asked_for(photos: list[Path]) -> None:
    photos[1].unlink()
    batches = image_batches(spec(1, normalised=True), photos)
    assert next(batches).names == ("a.png",)
    with pytest.raises(ImageError, match="no such image file"):
        next(batches)


def test_unreadable_image(photos: list[Path]) -> None:
    photos[0].write_text("no image")
    with pytest.raises(ImageError, match="cannot be read as an image") as caught:
        next(image_batches(spec(1, normalised=True), photos))
    assert caught.value.where == str(photos[0])


OTHER_FORMS = {
    "spectrogram": (InputSpec(4, 16, 8, None, channels=1), (1, 16, 8)),
    "clip": (InputSpec(4, 8, 16, None, frames=3), (3, 3, 8, 16)),
    "features": (InputSpec(4, 4, 6, None, channels=10, context=(5, 7)), (24, 10)),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_batches_of_other_forms_differ_in_every_place(photos: list[Path], form: str) -> None:
    rule, shape = OTHER_FORMS[form]
    batches = list(image_batches(rule, photos))
    assert len(batches) == 3
    for item in batches:
        assert item.pixels.shape == rule.shape == (4, *shape)
        assert item.pixels.dtype == np.float32 and item.pixels.flags.c_contiguous
        assert len({image.tobytes() for image in item.pixels}) == 4
        assert set(item.extra) == ({"context"} if form == "features" else set())
    for position in range(4):
        assert len({item.pixels[position].tobytes() for item in batches}) == 3
    np.testing.assert_array_equal(batches[1].pixels[0], input_from_photo(open_photo(photos[1]), rule))


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_copies_of_other_forms_are_mirrored_left_to_right(photos: list[Path], form: str) -> None:
    rule, _ = OTHER_FORMS[form]
    (item,) = image_batches(rule, photos[:1])
    image, copy = item.pixels[:2]
    if form == "features":
        image, copy = (value.reshape(4, 6, 10).transpose(2, 0, 1) for value in (image, copy))
    np.testing.assert_array_equal(copy, image[..., ::-1])
    assert not np.array_equal(copy, image)


def test_every_photograph_brings_its_text(photos: list[Path]) -> None:
    rule, _ = OTHER_FORMS["features"]
    texts = [context_from_photo(open_photo(path), rule) for path in photos]
    first, second, _ = image_batches(rule, photos)
    assert first.extra["context"].shape == (4, 5, 7) and first.extra["context"].dtype == np.float32
    np.testing.assert_array_equal(first.extra["context"], np.stack([*texts, texts[0]]))
    np.testing.assert_array_equal(second.extra["context"], np.stack([*texts[1:], *texts[:2]]))


def test_one_image_of_a_batch(photos: list[Path]) -> None:
    batch = next(image_batches(OTHER_FORMS["features"][0], photos))
    one = batch.single(2)
    assert one.names == ("c.png",)
    np.testing.assert_array_equal(one.pixels, batch.pixels[2:3])
    np.testing.assert_array_equal(one.extra["context"], batch.extra["context"][2:3])
    assert ImageBatch(("a",), np.zeros((1, 2))).single(0).extra == {}
