"""Photographs in and out of a model's input form. Pillow and numpy alone, so that it runs on the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

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
    """Decodes an image file as RGB.

    Raises:
        ImageError: Missing, or not an image that Pillow can decode.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise ImageError(str(path), "no such image file", "check the path") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
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
