"""Photographs in and out of a model's input form. Pillow and numpy alone, so that it runs on the device."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edgeexport.errors import ImageError
from edgeexport.recipe.schema import InputSpec

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "input_from_photo", "open_photo", "shipped_photos"]

# Used for models that take an already normalised image; the values of mmsegmentation's data preprocessor.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def shipped_photos() -> list[Path]:
    """The public-domain photographs that builds are checked on (see assets/README.md), in a fixed order."""
    return sorted((Path(__file__).parent / "assets").glob("*.jpg"))


def open_photo(path: Path) -> Image.Image:
    """Decodes an image file as RGB, turned upright.

    Raises:
        ImageError: Missing, or not an image that Pillow can decode.
    """
    try:
        with Image.open(path) as image:
            return _eight_bit(_upright(image), image.format).convert("RGB")
    except FileNotFoundError:
        raise ImageError(str(path), "no such image file", "check the path") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them stumble on
        raise ImageError(str(path), f"cannot be read as an image ({error})", "give a JPEG, PNG or WebP file") from None


def input_from_photo(photo: Image.Image, spec: InputSpec) -> NDArray:
    """Resizes a photograph to the model's size, without keeping its aspect ratio, and brings it into its input form.

    Returns:
        uint8 (H, W, 3) in the channel order that ``spec.preprocess`` expects, or, where the model takes normalised
        images, float32 (3, H, W) normalised with ImageNet's mean and standard deviation.
    """
    resized = photo.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized, dtype=np.uint8)
    if spec.preprocess is not None:
        return np.ascontiguousarray(pixels[..., ::-1] if spec.preprocess.bgr_to_rgb else pixels)
    mean = np.array(IMAGENET_MEAN, dtype=np.float32)
    std = np.array(IMAGENET_STD, dtype=np.float32)
    return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def _upright(photo: Image.Image) -> Image.Image:
    """Turned as its orientation tag says; cameras write the sensor's rows and say which way is up."""
    try:
        return ImageOps.exif_transpose(photo)
    except (OSError, ValueError, SyntaxError, struct.error):  # a damaged tag costs the orientation, not the image
        return photo


def _eight_bit(photo: Image.Image, file_format: str | None) -> Image.Image:
    """16-bit grey as 8-bit grey; Pillow's own conversion clips, which leaves a white image.

    Raises:
        ValueError: Pixels of 32 bits, whose white is unknown.
    """
    if photo.mode.startswith("I;16") or (photo.mode == "I" and file_format == "PNG"):  # "I": before Pillow 11
        return Image.fromarray((np.asarray(photo).astype(np.int64) >> 8).astype(np.uint8))
    if photo.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit numbers (mode {photo.mode}), expected 8 or 16 bits")
    return photo
