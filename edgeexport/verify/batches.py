"""Batches of different images to check a model on. Runs without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexport.images import input_from_photo, open_photo
from edgeexport.recipe.schema import InputSpec

__all__ = ["ImageBatch", "image_batches"]


@dataclass(frozen=True)
class ImageBatch:
    """A batch of different images in the recipe's input form, with their names."""

    names: tuple[str, ...]
    pixels: NDArray


def image_batches(spec: InputSpec, photos: Sequence[Path]) -> Iterator[ImageBatch]:
    """As many batches as there are photographs, no two with the same image in the same place.

    Batch b holds photographs b, b + 1, ... in turn. Where the batch is larger than the number of photographs, further
    rounds are mirrored or darkened copies, so that all its images differ.
    """
    count = len(photos)
    for first in range(count):
        names, pixels = [], []
        for position in range(spec.batch):
            photo = photos[(first + position) % count]
            image = input_from_photo(open_photo(photo), spec)
            name = photo.name
            for turn in range(position // count):
                image = _variant(image, turn, spec)
                name += f"+{turn + 1}"
            names.append(name)
            pixels.append(image)
        yield ImageBatch(tuple(names), np.stack(pixels))


def _variant(image: NDArray, turn: int, spec: InputSpec) -> NDArray:
    columns = 1 if spec.preprocess is not None else 2
    if turn % 2 == 0:
        return np.ascontiguousarray(np.flip(image, axis=columns))
    return image - image // 4 if image.dtype == np.uint8 else image * np.float32(0.75)
