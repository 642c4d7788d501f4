"""Scenes from disk in memory, and batches of them with the usual augmentations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["SceneBatch", "Scenes", "normalised", "read_scenes"]


@dataclass(frozen=True)
class Scenes:
    """One split: uint8 images (N, H, W, 3) in RGB, uint8 labels (N, H, W), and the split's hash as the generator wrote it."""

    images: np.ndarray
    labels: np.ndarray
    sha256: str

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class SceneBatch:
    """float32 (B, 3, H, W) in 0..255, int64 (B, H, W), the scenes' indices, and whether each was mirrored."""

    pixels: Tensor
    label: Tensor
    index: np.ndarray
    mirrored: np.ndarray


def read_scenes(folder: Path, split: str, limit: int | None = None) -> Scenes:
    """Reads a split that `examples.scenes.generate` wrote, in order of the file names."""
    images = sorted((folder / "images" / split).glob("*.png"))[:limit]
    if not images:
        raise FileNotFoundError(
            f"{folder / 'images' / split}: no scenes; make them with python -m examples.scenes.generate"
        )
    labels = [folder / "annotations" / split / path.name for path in images]
    description = json.loads((folder / "scenes.json").read_text(encoding="utf-8"))
    return Scenes(_stack(images), _stack(labels), description["sha256"][split])


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(pixel - mean) / std per channel: float32 (B, 3, H, W) in 0..255."""
    shape = (1, -1, 1, 1)
    return (pixels - pixels.new_tensor(mean).reshape(shape)) / pixels.new_tensor(std).reshape(shape)


def batches(scenes: Scenes, size: int, seed: int, start: int, count: int) -> Iterator[SceneBatch]:
    """Batches ``start`` .. ``count`` - 1 of an endless shuffled stream, so that an interrupted training goes on where it was.

    Scenes are mirrored, and brightness, contrast and colour balance shifted, at random.
    """
    per_epoch = len(scenes) // size
    for step in range(start, count):
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((seed, epoch)).permutation(len(scenes))
        index = order[place * size : (place + 1) * size]
        rng = np.random.default_rng((seed, epoch, place))
        mirrored = rng.random(size) < 0.5
        pixels = torch.from_numpy(scenes.images[index]).permute(0, 3, 1, 2).to(torch.float32)
        label = torch.from_numpy(scenes.labels[index]).to(torch.int64)
        flip = torch.from_numpy(mirrored)
        pixels = torch.where(flip[:, None, None, None], pixels.flip(3), pixels)
        label = torch.where(flip[:, None, None], label.flip(2), label)
        gain = torch.from_numpy(rng.normal(1.0, 0.08, (size, 3, 1, 1)) * rng.normal(1.0, 0.12, (size, 1, 1, 1)))
        shift = torch.from_numpy(rng.normal(0.0, 8.0, (size, 1, 1, 1)))
        yield SceneBatch((pixels * gain.float() + shift.float()).clamp(0, 255), label, index, mirrored)


def _stack(paths: list[Path]) -> np.ndarray:
    rows = []
    for path in paths:
        with Image.open(path, formats=("PNG",)) as image:
            rows.append(np.asarray(image))
    return np.stack(rows)
