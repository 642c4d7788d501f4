"""Photographs in and out of a model's input form. Pillow and numpy alone, so that it runs on the device.

Models that take no photograph are checked on inputs made from one, so that neighbours resemble each other as in real
data: token merging on noise would prove little. Such inputs are stand-ins; nothing is recognised in them.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edgeexport.errors import ImageError
from edgeexport.inputs.framing import IMAGENET_MEAN, framed_photo
from edgeexport.inputs.spec import InputSpec

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "context_from_photo",
    "input_from_photo",
    "open_photo",
    "photos_in_folder",
    "shipped_photos",
]

# What is decoded, whatever a file calls itself: Pillow would hand PostScript to Ghostscript. A phone's JPEG with a second
# picture (MPO) is opened as JPEG.
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

# Used for models that take an already normalised image; the values of mmsegmentation's data preprocessor.
IMAGENET_STD = (58.395, 57.12, 57.375)

_PAN_WINDOW = 7 / 8  # of the photograph's sides; a clip's first frame shows its top left, the last its bottom right
_FEATURE_PATCH = 8  # pixels of a photograph to a side of one latent position, as in Stable Diffusion's autoencoder
_FEATURE_SEED = 8191


def shipped_photos() -> list[Path]:
    """The public-domain photographs that builds are checked on (see assets/README.md), in a fixed order."""
    return sorted((Path(__file__).parents[1] / "assets").glob("*.jpg"))


def open_photo(path: Path) -> Image.Image:
    """Decodes an image file as RGB, turned upright; of a very large one there are never two copies in memory.

    Raises:
        ImageError: Missing, damaged, or of none of `IMAGE_FORMATS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow refuses what is twice as large
            image = Image.open(path, formats=IMAGE_FORMATS)
        with image:
            image.load()
            photo = _eight_bit(_upright(image), image.format)
            return photo if photo.mode == "RGB" else photo.convert("RGB")  # which copies what is RGB already
    except FileNotFoundError:
        raise ImageError(str(path), "no such image file", "check the path") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them stumble on
        raise ImageError(str(path), f"cannot be read as an image ({error})", "give a JPEG, PNG or WebP file") from None


def input_from_photo(photo: Image.Image, spec: InputSpec) -> NDArray:
    """Brings a photograph to the model's size (see `framed_photo`), and into its input form.

    Returns:
        One image's share of the graph's first input:

        - with ``spec.preprocess``: uint8 (H, W, 3) in the channel order that it expects;
        - three channels: float32 (3, H, W) normalised with ImageNet's mean and standard deviation;
        - ``spec.frames``: float32 (3, T, H, W), a slow pan over the photograph, normalised likewise;
        - one channel, in a spectrogram's place: float32 (1, H, W), the photograph's luminance with mean 0 and standard
          deviation 1;
        - ``spec.context``, in the place of a diffusion model's features: float32 (H W, channels), a fixed linear map of
          the photograph's 8x8-pixel patches, row by row, each channel with mean 0 and all with variance 1.

    Raises:
        ImageError: Another number of channels, which a photograph does not give.
    """
    if spec.context is not None:
        return _features(photo, spec)
    if spec.channels == 1 and spec.frames is None and spec.preprocess is None:
        grey = np.asarray(photo.convert("L").resize((spec.width, spec.height), Image.Resampling.BILINEAR))
        return _standardised(grey.astype(np.float32))[None]
    if spec.channels != 3:
        raise ImageError(
            f"input of {spec.channels} channels",
            "cannot be made from a photograph, which gives 3 channels, or 1 as luminance without preprocessing",
            "use a model with 3 input channels",
        )
    if spec.frames is not None:
        return np.stack([_normalised(frame) for frame in _pan(photo, spec, spec.frames)], axis=1)
    resized = framed_photo(photo, spec)
    if spec.preprocess is not None:
        pixels = np.asarray(resized, dtype=np.uint8)
        return np.ascontiguousarray(pixels[..., ::-1] if spec.preprocess.bgr_to_rgb else pixels)
    return _normalised(resized)


def context_from_photo(photo: Image.Image, spec: InputSpec) -> NDArray:
    """A stand-in for the text that belongs to a photograph: noise, the same for the same pixels.

    Returns:
        float32 (tokens, width) with ``spec.context = (tokens, width)``, normally distributed with variance 1.
    """
    assert spec.context is not None
    digest = hashlib.sha256(repr(photo.size).encode() + photo.tobytes()).digest()
    return _noise(int.from_bytes(digest[:4], "little"), spec.context)


def _normalised(image: Image.Image) -> NDArray:
    """An RGB image as float32 (3, H, W), normalised with ImageNet's mean and standard deviation."""
    pixels = np.asarray(image, dtype=np.uint8).astype(np.float32)
    mean = np.array(IMAGENET_MEAN, dtype=np.float32)
    std = np.array(IMAGENET_STD, dtype=np.float32)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def _pan(photo: Image.Image, spec: InputSpec, frames: int) -> Iterator[Image.Image]:
    width, height = photo.size
    for frame in range(frames):
        way = (1 - _PAN_WINDOW) * frame / max(frames - 1, 1)
        box = (width * way, height * way, width * (way + _PAN_WINDOW), height * (way + _PAN_WINDOW))
        yield photo.resize((spec.width, spec.height), Image.Resampling.BILINEAR, box=box)


def _features(photo: Image.Image, spec: InputSpec) -> NDArray:
    size = (_FEATURE_PATCH * spec.width, _FEATURE_PATCH * spec.height)
    pixels = _normalised(photo.resize(size, Image.Resampling.BILINEAR))
    split = pixels.reshape(3, spec.height, _FEATURE_PATCH, spec.width, _FEATURE_PATCH)
    patches = split.transpose(1, 3, 0, 2, 4).reshape(spec.height * spec.width, -1)
    features = patches @ _noise(_FEATURE_SEED, (patches.shape[1], spec.channels))
    return _standardised(features, axis=0)


def _noise(seed: int, shape: tuple[int, int]) -> NDArray:
    """float32, standard normal. NumPy keeps the stream of this generator the same in every version, unlike the newer's."""
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def _standardised(values: NDArray, axis: int | None = None) -> NDArray:
    """Mean 0 along ``axis`` (default: of all values), and standard deviation 1 of all values; 0 where all are equal."""
    centred = values - values.mean(axis=axis, keepdims=True)
    spread = centred.std()
    even = spread <= 1e-5 * np.abs(values).max()  # what rounding leaves of a picture of one colour
    return np.zeros_like(values) if even else centred / spread


def _upright(photo: Image.Image) -> Image.Image:
    """Turned as its orientation tag says; cameras write the sensor's rows and say which way is up."""
    with suppress(OSError, ValueError, SyntaxError, struct.error):  # a damaged tag costs the orientation, not the image
        ImageOps.exif_transpose(photo, in_place=True)
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


def photos_in_folder(folder: Path) -> list[Path]:
    """Image files of a folder, by name.

    Raises:
        ImageError: No folder, or no image in it.
    """
    if not folder.is_dir():
        raise ImageError(str(folder), "no such folder", "give a folder of images")
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not photos:
        raise ImageError(str(folder), "holds no image", f"expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return photos
