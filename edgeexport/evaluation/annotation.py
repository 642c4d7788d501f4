"""One annotation file: an image whose pixel values are class numbers. Pillow and numpy alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.errors import ImageError

__all__ = ["ANNOTATION_SUFFIXES", "ignored_label", "label_from_annotation"]

_IGNORED, _IGNORED_WIDE = 255, 65535

ANNOTATION_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
"""Formats that keep numbers as they are, the usual one first."""

_FORMATS = ("PNG", "TIFF", "BMP")

_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")
_SHOWN = 4


def ignored_label(num_classes: int) -> int:
    """The label of pixels that count for nothing: 255, as in mmsegmentation; 65535 where 255 is a class among more of them."""
    return _IGNORED if num_classes <= _IGNORED else _IGNORED_WIDE


def label_from_annotation(
    path: Path, num_classes: int, size: tuple[int, int], *, reduce_zero_label: bool = False
) -> NDArray[np.int64]:
    """Reads an annotation: grey or indexed pixels (the palette does not matter), 8 or 16 bits.

    Args:
        path: The file.
        num_classes: K; pixels are 0..K-1, or `ignored_label` where they count for nothing.
        size: (width, height) of the photograph that it belongs to.
        reduce_zero_label: 0 means "no class" and class numbers begin with 1 in the file (ADE20K's form); 0 is ignored
            and all others are one less, as mmsegmentation does.

    Returns:
        int64 (H, W), 0..K-1 and ``ignored_label(num_classes)``.

    Raises:
        ImageError: Missing, unreadable, in colour, of another size, or with labels that the model does not have.
    """
    values = _pixel_values(path)
    height, width = values.shape
    if (width, height) != size:
        raise ImageError(
            str(path),
            f"the annotation has {width} x {height} pixels, its image {size[0]} x {size[1]}",
            "an annotation needs its image's size",
        )
    offset = int(reduce_zero_label)
    labels = np.unique(values)
    ignored, ignored_in_file = ignored_label(num_classes), ignored_label(num_classes + offset)
    allowed = (labels >= 0) & (labels < num_classes + offset) | (labels == ignored_in_file)
    if not allowed.all():
        raise ImageError(str(path), *_out_of_range(labels[~allowed], num_classes, offset))
    if not reduce_zero_label:
        return values
    return np.where((values == 0) | (values == ignored_in_file), ignored, values - 1)


def _pixel_values(path: Path) -> NDArray[np.int64]:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            mode, bands = image.mode, "".join(image.getbands())
            values = np.asarray(image).astype(np.int64) if mode in _MODES else None
    except FileNotFoundError:
        raise ImageError(str(path), "no such annotation", "check the path") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them stumble on
        problem = f"the annotation cannot be read as an image ({error})"
        raise ImageError(str(path), problem, "give a PNG whose pixels are class numbers") from None
    if values is None:
        problem = f"the annotation's pixels are {bands} values, expected class numbers"
        raise ImageError(str(path), problem, "save it as a grey or indexed PNG")
    return values


def _out_of_range(labels: NDArray[np.int64], num_classes: int, offset: int) -> tuple[str, str]:
    """Problem and remedy."""
    shown = ", ".join(str(label) for label in labels[:_SHOWN].tolist())
    more = f" and {labels.size - _SHOWN} more" if labels.size > _SHOWN else ""
    last, ignored = num_classes - 1 + offset, ignored_label(num_classes + offset)
    plural = "s" if labels.size > 1 else ""
    problem = f"the annotation holds label{plural} {shown}{more}, expected 0 to {last}, or {ignored} for ignored pixels"
    if not offset and labels.tolist() == [num_classes]:
        problem += "; where 0 stands for 'no class', give --reduce-zero-label"
    return problem, f"the model has {num_classes} classes"
