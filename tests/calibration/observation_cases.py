"""Small SegViT recipes with labelled images, and observations made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shared_cases import TINY_RECIPE

from edgeexport.calibration.calibrate_counts import CountsCalibration, calibrate_counts
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation
from edgeexport.evaluation.dataset import LabelledImage
from edgeexport.inputs.photos import open_photo, shipped_photos
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe

__all__ = [
    "CLASSES",
    "CTS_DTOP",
    "GRID",
    "SIDE",
    "counts_calibrated",
    "image_of",
    "labelled_photos",
    "stage_by_loops",
    "stage_of",
    "tiny",
]

SIDE, GRID, CLASSES = 128, (8, 8), 6  # of the tiny recipe: 64 patches of 16 pixels, 16 windows
CTS_DTOP = "reduction={'cts': {'num_shared': 5, 'align_tokens': 1}, 'dtop': {'prune': {2: 12, 3: 9}}}"


def tiny(folder: Path, *options: str) -> Recipe:
    """The tiny recipe: auxiliary heads after blocks 2 and 3 of 4, of which it prunes 16 and 8 of 64 tokens."""
    path = folder / "tiny.py"
    path.write_text(TINY_RECIPE)
    return load_recipe(path, options)


def labelled_photos(count: int, seed: int = 0) -> list[LabelledImage]:
    """Cuts of the shipped photographs with labels in blocks of 1 to 40 pixels, a few of them ignored."""
    draw = np.random.default_rng(seed)
    photos = [open_photo(path) for path in shipped_photos()]
    images = []
    for number in range(count):
        photo = photos[number % len(photos)]
        left, top = (int(draw.integers(0, side - SIDE)) for side in photo.size)
        block = int(draw.integers(1, 41))
        blocks = draw.integers(0, CLASSES + 1, size=(SIDE // block + 1, SIDE // block + 1))
        label = np.kron(blocks, np.ones((block, block), dtype=np.int64))[:SIDE, :SIDE]
        label[label == CLASSES] = 255
        images.append(LabelledImage(f"image{number}", photo.crop((left, top, left + SIDE, top + SIDE)), label))
    return images


def counts_calibrated(
    recipe: str | Path, *, on_progress: Any = None, on_note: Any = None, **options: Any
) -> CountsCalibration:
    """`calibrate_counts` with its options by name."""
    callbacks = {"on_progress": on_progress, "on_note": on_note}
    given = {name: callback for name, callback in callbacks.items() if callback is not None}
    return calibrate_counts(recipe, CalibrationOptions(**options), **given)


def stage_of(confidence: Sequence[float], *, block: int = 2, protected: int = 0) -> StageObservation:
    """A stage without labels whose unprotected tokens have these confidences, in any order."""
    values = np.sort(np.array(confidence, dtype=np.float32))[::-1]
    return StageObservation(block, len(values) + protected, protected, values)


def image_of(name: str, *stages: StageObservation, shareable: int | None = None) -> ImageObservation:
    return ImageObservation(name, shareable, None, stages)


def stage_by_loops(
    block: int, confidence: NDArray[np.float32], label: Sequence[int], wrong: Sequence[bool], per_class: int
) -> StageObservation:
    """From the definition: of each class the most confident tokens are protected; lowest index first among equals."""
    tokens = range(len(confidence))
    protected = set()
    for klass in set(label):
        members = [token for token in tokens if label[token] == klass]
        protected |= set(sorted(members, key=lambda token: (-confidence[token], token))[:per_class])
    free = sorted(set(tokens) - protected, key=lambda token: (-confidence[token], token))
    # As float32: confidence - 2 is coarser, and equal keys go by index.
    held = sorted(protected, key=lambda token: (-(confidence[token] - np.float32(2)), token))
    return StageObservation(
        block,
        len(confidence),
        len(protected),
        np.array([confidence[token] for token in free], dtype=np.float32),
        np.array([wrong[token] for token in free], dtype=bool),
        np.array([wrong[token] for token in held], dtype=bool),
    )
