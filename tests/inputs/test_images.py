"""Photographs: every kind of file opens upright as RGB, bad ones have a message, and pixels reach the model in order."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeexport.errors import ImageError
from edgeexport.inputs.photos import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    context_from_photo,
    input_from_photo,
    open_photo,
    shipped_photos,
)
from edgeexport.inputs.spec import InputSpec, Preprocess

RGB = Preprocess((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), bgr_to_rgb=False)
BGR = Preprocess((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), bgr_to_rgb=True)
ORIENTATION = 274  # EXIF tag
COLOURS = ((200, 30, 40), (20, 180, 60), (10, 50, 220), (240, 230, 20))


def quarters(width: int = 24, height: int = 16) -> Image.Image:
    """Four colours: top left, top right, bottom left, bottom right."""
    image = Image.new("RGB", (width, height))
    for number, colour in enumerate(COLOURS):
        left, top = number % 2 * width // 2, number // 2 * height // 2
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def centres(image: Image.Image) -> list[tuple[int, ...]]:
    """Colours in the middle of the quarters."""
    width, height = image.size
    return [image.getpixel((width * (1 + 2 * (n % 2)) // 4, height * (1 + 2 * (n // 2)) // 4)) for n in range(4)]


def assert_close(found: list[tuple[int, ...]], expected: tuple[tuple[int, ...], ...], tolerance: int) -> None:
    assert np.abs(np.array(found) - np.array(expected)).max() <= tolerance


def refused(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        open_photo(path)
    assert caught.value.exit_code == 2
    assert caught.value.where == str(path) and caught.value.remedy
    return str(caught.value)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.bmp", "x.tiff"])
def test_usual_files_open_as_rgb(tmp_path: Path, name: str) -> None:
    quarters(96, 64).save(tmp_path / name, quality=95)
    photo = open_photo(tmp_path / name)
    assert (photo.mode, photo.size) == ("RGB", (96, 64))
    assert_close(centres(photo), COLOURS, 6)


def test_jpeg_with_a_second_picture_as_phones_write_it(tmp_path: Path) -> None:
    quarters(96, 64).save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[quarters(96, 64)])
    assert open_photo(tmp_path / "x.jpg").size == (96, 64)


@pytest.mark.parametrize("file_format", ["EPS", "PDF", "PPM", "FITS"])
def test_formats_that_no_photograph_has_are_refused(tmp_path: Path, file_format: str) -> None:
    """Whatever the name says: Pillow hands PostScript to Ghostscript."""
    if file_format == "FITS":
        (tmp_path / "x.jpg").write_bytes(b"SIMPLE  =                    T".ljust(2880))
    else:
        quarters().save(tmp_path / "x.jpg", file_format)
    assert "cannot be read as an image (cannot identify image file" in refused(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("mode", "name"),
    [("CMYK", "x.jpg"), ("CMYK", "x.tiff"), ("P", "x.png"), ("P", "x.gif"), ("RGBA", "x.png")],
)
def test_other_colour_modes_open_as_rgb(tmp_path: Path, mode: str, name: str) -> None:
    quarters(96, 64).convert(mode, palette=Image.Palette.ADAPTIVE).save(tmp_path / name, quality=95)
    with Image.open(tmp_path / name) as stored:
        assert stored.mode == mode  # or else the file tests nothing
    photo = open_photo(tmp_path / name)
    assert (photo.mode, photo.size) == ("RGB", (96, 64))
    assert_close(centres(photo), COLOURS, 12)


@pytest.mark.parametrize(
    ("mode", "levels"), [("L", (0, 90, 200, 255)), ("1", (0, 255, 255, 0)), ("LA", (0, 90, 9, 255))]
)
def test_grey_opens_with_three_equal_channels(tmp_path: Path, mode: str, levels: tuple[int, ...]) -> None:
    grey = Image.fromarray(np.array(levels, dtype=np.uint8).reshape(2, 2))
    grey.convert(mode).save(tmp_path / "x.png")
    found = np.asarray(open_photo(tmp_path / "x.png"))
    assert found.shape == (2, 2, 3)
    assert found.reshape(4, 3).tolist() == [[level] * 3 for level in levels]


def test_sixteen_bit_grey_keeps_its_levels(tmp_path: Path) -> None:
    levels = np.array([[0, 255, 256, 32768], [40000, 65279, 65280, 65535]], dtype=np.uint16)
    for name in ("x.png", "x.tiff"):
        Image.fromarray(levels).save(tmp_path / name)
        found = np.asarray(open_photo(tmp_path / name))
        assert found[..., 0].tolist() == [[0, 0, 1, 128], [156, 254, 255, 255]]
        assert (found == found[..., :1]).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_pixels_have_no_known_white(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.ones((4, 4), dtype=dtype)).save(tmp_path / "x.tiff")
    assert "32-bit numbers" in refused(tmp_path / "x.tiff")


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp"])
@pytest.mark.parametrize(
    ("orientation", "order", "turned"),
    [
        (1, (0, 1, 2, 3), False),
        (2, (1, 0, 3, 2), False),
        (3, (3, 2, 1, 0), False),
        (4, (2, 3, 0, 1), False),
        (6, (2, 0, 3, 1), True),
        (8, (1, 3, 0, 2), True),
    ],
)
def test_photographs_open_upright(
    tmp_path: Path, orientation: int, order: tuple[int, ...], turned: bool, name: str
) -> None:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    quarters(96, 64).save(tmp_path / name, exif=tags, quality=95)
    photo = open_photo(tmp_path / name)
    assert photo.mode == "RGB"
    assert photo.size == ((64, 96) if turned else (96, 64))
    assert_close(centres(photo), tuple(COLOURS[i] for i in order), 6)


def test_missing_file(tmp_path: Path) -> None:
    assert "no such image file" in refused(tmp_path / "absent.jpg")


def test_folder_is_no_image(tmp_path: Path) -> None:
    assert "cannot be read as an image" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, not an image\n" * 20, b"\xff\xd8\xff\xe0JFIF"])
def test_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    assert "cannot be read as an image" in refused(tmp_path / "x.jpg")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_truncated_image(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    assert "cannot be read as an image" in refused(tmp_path / name)


def test_image_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quarters().save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 16 // 2 - 1)
    assert "cannot be read as an image" in refused(tmp_path / "x.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged tags
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.gif"])
def test_damaged_bytes_give_our_error_or_an_image(tmp_path: Path, name: str) -> None:
    """Any byte may be wrong; decoders then raise exceptions of every kind, SyntaxError included."""
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    quarters().save(tmp_path / name, **({} if name.endswith("gif") else {"exif": tags}))
    content, rng, errors = (tmp_path / name).read_bytes(), random.Random(0), 0
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 5)):
            damaged[rng.randrange(min(len(content), rng.choice([60, 10**6])))] = rng.randrange(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            assert open_photo(tmp_path / name).mode == "RGB"
        except ImageError:
            errors += 1
    assert errors > 10


def test_broken_png_chunk_name(tmp_path: Path) -> None:
    """Pillow raises SyntaxError for it, which is no OSError."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    assert b"IDAT" in content
    broken = 0
    for name in (b"B\xae\\\x84", b"\x00\x00\x00\x00", b"IEN\xff"):
        (tmp_path / "x.png").write_bytes(content.replace(b"IDAT", name))
        refused(tmp_path / "x.png")
        broken += 1
    assert broken == 3


# --- Into the model's input form ---


def test_channels_are_fed_in_the_order_that_preprocessing_expects() -> None:
    """With ``bgr_to_rgb`` the graph reverses channels, so that it has to be given BGR."""
    photo = quarters(8, 8)
    rgb = input_from_photo(photo, InputSpec(1, 8, 8, RGB))
    bgr = input_from_photo(photo, InputSpec(1, 8, 8, BGR))
    assert rgb.dtype == bgr.dtype == np.uint8
    assert tuple(rgb[1, 1]) == COLOURS[0]
    assert tuple(bgr[1, 1]) == COLOURS[0][::-1]
    assert np.array_equal(rgb, bgr[..., ::-1])
    assert bgr.flags.c_contiguous and rgb.flags.c_contiguous


@pytest.mark.parametrize("rule", [RGB, BGR, None])
def test_photograph_is_stretched_to_the_model(rule: Preprocess | None) -> None:
    pixels = input_from_photo(quarters(300, 70), InputSpec(1, 32, 64, rule))
    assert pixels.shape == ((3, 32, 64) if rule is None else (32, 64, 3))
    assert pixels.flags.c_contiguous


def test_normalised_input() -> None:
    pixels = input_from_photo(quarters(8, 8), InputSpec(1, 8, 8, None))
    assert pixels.dtype == np.float32
    for channel in range(3):
        expected = (COLOURS[2][channel] - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        assert pixels[channel, 6, 1] == pytest.approx(expected, abs=1e-5)


# --- In the place of photographs ---


def test_spectrogram_is_the_standardised_luminance() -> None:
    found = input_from_photo(quarters(8, 16), InputSpec(1, 16, 8, None, channels=1))
    assert (found.shape, found.dtype) == ((1, 16, 8), np.float32)
    assert found.mean() == pytest.approx(0.0, abs=1e-6)
    assert found.std() == pytest.approx(1.0, abs=1e-6)
    luminance = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in COLOURS]
    corners = [found[0, y, x] for y, x in ((0, 0), (0, 7), (15, 0), (15, 7))]
    expected = (np.array(luminance) - np.mean(luminance)) / np.std(luminance)
    np.testing.assert_allclose(corners, expected, atol=0.02)  # Pillow rounds luminance to whole levels


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 31, 140)])
@pytest.mark.parametrize(
    "spec", [InputSpec(1, 37, 23, None, channels=1), InputSpec(1, 7, 9, None, channels=320, context=(4, 8))]
)
def test_a_picture_of_one_colour_gives_zeros(spec: InputSpec, colour: tuple[int, int, int]) -> None:
    """Not rounding errors blown up to variance 1."""
    assert not input_from_photo(Image.new("RGB", (50, 40), colour), spec).any()


def test_clip_pans_slowly_from_the_top_left_to_the_bottom_right() -> None:
    ramp = np.zeros((320, 320, 3), dtype=np.uint8)
    ramp[..., 0] = np.linspace(0, 255, 320)
    ramp[..., 1] = np.linspace(0, 255, 320)[:, None]
    found = input_from_photo(Image.fromarray(ramp), InputSpec(1, 56, 112, None, frames=5))
    assert (found.shape, found.dtype) == ((3, 5, 56, 112), np.float32)
    assert found.flags.c_contiguous
    levels = found.transpose(1, 2, 3, 0) * IMAGENET_STD + IMAGENET_MEAN
    middle = levels[:, 28, 56]
    steps = np.diff(middle[:, :2], axis=0)
    np.testing.assert_allclose(steps, 255 / 8 / 4, atol=1.5)  # an eighth of the photograph in four even steps
    assert levels[0, 0, 0, 0] < 3 and levels[0, 0, 0, 1] < 3
    assert levels[-1, -1, -1, 0] > 252 and levels[-1, -1, -1, 1] > 252


def test_clip_of_one_frame() -> None:
    assert input_from_photo(quarters(5, 3), InputSpec(1, 16, 16, None, frames=1)).shape == (3, 1, 16, 16)


def features(photo: Image.Image, channels: int = 12, size: tuple[int, int] = (6, 9)) -> np.ndarray:
    return input_from_photo(photo, InputSpec(1, *size, None, channels=channels, context=(4, 8)))


def test_features_have_unit_variance_and_are_the_same_every_time() -> None:
    photo = open_photo(shipped_photos()[0])
    found = features(photo, 320, (16, 16))
    assert (found.shape, found.dtype) == ((256, 320), np.float32)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    assert found.std() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(found, features(photo, 320, (16, 16)))


def test_the_map_of_features_never_changes() -> None:
    """It is the same on every machine and with every version of NumPy, up to the rounding of sums."""
    expected = [[0.83495, 1.00958, 0.42985], [-0.29412, -1.05306, -2.72528]]
    np.testing.assert_allclose(features(quarters(18, 12))[[0, 29], :3], expected, atol=1e-4)


def test_features_are_a_linear_map_of_patches_row_by_row() -> None:
    """Patches of equal pixels have equal features, in row-major places; the difference of features is linear in pixels."""
    pixels = np.zeros((48, 72, 3), dtype=np.uint8)
    pixels[8:16, 16:24] = 100  # row 1, column 2
    pixels[40:48, 64:72] = 200  # row 5, column 8
    found = features(Image.fromarray(pixels))
    one, two = 1 * 9 + 2, 5 * 9 + 8
    rest = np.delete(found, [one, two], axis=0)
    np.testing.assert_allclose(rest, np.broadcast_to(rest[:1], rest.shape), atol=1e-4)
    np.testing.assert_allclose(found[two] - rest[0], 2 * (found[one] - rest[0]), rtol=1e-4, atol=1e-4)
    assert np.abs(found[one] - rest[0]).min() > 0


def test_features_tell_pixels_of_a_patch_apart() -> None:
    checked = np.zeros((48, 72, 3), dtype=np.uint8)
    checked[8:16:2, 16:24] = 200
    turned = np.zeros_like(checked)
    turned[8:16, 16:24:2] = 200
    assert np.abs(features(Image.fromarray(checked)) - features(Image.fromarray(turned))).max() > 0.1


def test_neighbours_resemble_each_other_as_in_a_photograph() -> None:
    for path in shipped_photos():
        grid = features(open_photo(path), 64, (32, 32)).reshape(32, 32, 64)
        unit = grid / np.linalg.norm(grid, axis=-1, keepdims=True)
        beside = (unit[:, 1:] * unit[:, :-1]).sum(-1).mean()
        apart = (unit[:, 16:] * unit[:, :16]).sum(-1).mean()
        assert beside > apart + 0.2


def test_text_is_the_photographs_own() -> None:
    spec = InputSpec(1, 4, 4, None, channels=8, context=(77, 96))
    photo, other = quarters(8, 8), quarters(8, 8)
    found = context_from_photo(photo, spec)
    assert (found.shape, found.dtype) == ((77, 96), np.float32)
    assert found.mean() == pytest.approx(0.0, abs=0.05) and found.std() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(found, context_from_photo(other, spec))
    other.putpixel((3, 3), (1, 2, 3))
    assert np.abs(found - context_from_photo(other, spec)).mean() > 0.5
    flat = Image.new("RGB", (8, 2)), Image.new("RGB", (2, 8))  # the same bytes
    assert not np.array_equal(context_from_photo(flat[0], spec), context_from_photo(flat[1], spec))


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(1, 8, 8, None, channels=4),
        InputSpec(1, 8, 8, RGB, channels=1),
        InputSpec(1, 8, 8, None, channels=1, frames=2),
    ],
)
def test_other_channels_cannot_be_made_from_a_photograph(spec: InputSpec) -> None:
    with pytest.raises(ImageError, match=f"input of {spec.channels} channels") as caught:
        input_from_photo(quarters(), spec)
    assert caught.value.remedy


def test_shipped_photographs_open_and_differ() -> None:
    photos = shipped_photos()
    assert len(photos) >= 3 and photos == sorted(photos)
    thumbnails = {open_photo(path).resize((8, 8)).tobytes() for path in photos}
    assert len(thumbnails) == len(photos)
