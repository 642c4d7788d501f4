"""Batches of different images to check a model on. Runs without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexport.errors import plain_text
from edgeexport.inputs.photos import context_from_photo, input_from_photo, open_photo
from edgeexport.inputs.spec import InputSpec

__all__ = ["ImageBatch", "image_batches"]


@dataclass(frozen=True)
class ImageBatch:
    """A batch of different images in the recipe's input form, with their names.

    ``extra`` holds the graph's further inputs by name: ``context`` float32 (B, tokens, width) beside features.
    """

    names: tuple[str, ...]
    pixels: NDArray
    extra: dict[str, NDArray] = field(default_factory=dict)

    def single(self, position: int) -> ImageBatch:
        """The batch that holds the image at ``position`` alone."""
        rows = slice(position, position + 1)
        return ImageBatch(
            self.names[rows], self.pixels[rows], {name: value[rows] for name, value in self.extra.items()}
        )


def image_batches(spec: InputSpec, photos: Sequence[Path]) -> Iterator[ImageBatch]:
    """As many batches as there are photographs, no two with the same image in the same place.

    Batch b holds photographs b, b + 1, ... in turn. Where the batch is larger than the number of photographs, further
    rounds are mirrored or darkened copies, so that all its images differ; a copy keeps its photograph's text.
    """
    count = len(photos)
    for first in range(count):
        names, pixels, contexts = [], [], []
        for position in range(spec.batch):
            path = photos[(first + position) % count]
            photo = open_photo(path)
            image = input_from_photo(photo, spec)
            name = plain_text(path.name)
            for turn in range(position // count):
                image = _variant(image, turn, spec)
                name += f"+{turn + 1}"
            names.append(name)
            pixels.append(image)
            if spec.context is not None:
                contexts.append(context_from_photo(photo, spec))
            del photo  # before the next one, which may be as large, is decoded
        extra = {"context": np.stack(contexts)} if contexts else {}
        yield ImageBatch(tuple(names), np.stack(pixels), extra)


def _variant(image: NDArray, turn: int, spec: InputSpec) -> NDArray:
    if turn % 2 == 0:
        return _mirrored(image, spec)
    return image - image // 4 if image.dtype == np.uint8 else image * np.float32(0.75)


def _mirrored(image: NDArray, spec: InputSpec) -> NDArray:
    """Left to right; the columns are the last axis but in pixels with preprocessing and in features."""
    if spec.context is not None:
        grid = image.reshape(spec.height, spec.width, spec.channels)
        return np.ascontiguousarray(np.flip(grid, axis=1)).reshape(image.shape)
    return np.ascontiguousarray(np.flip(image, axis=1 if spec.preprocess is not None else -1))
