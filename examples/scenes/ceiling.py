"""The mIoU that the token grid itself allows: oracles that know every token's labels.

Run as ``python -m examples.scenes.ceiling DIR --split test``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from examples.scenes.classes import CLASSES

__all__ = ["Ceiling", "app", "oracle_ceiling", "token_fractions", "upsample_bilinear"]

IGNORED = 255


@dataclass(frozen=True)
class Ceiling:
    """IoU per class (percent; nan for a class that never occurs) of two oracles, and the share of pure windows."""

    bilinear: tuple[float, ...]
    """Exact class fractions per token, upsampled bilinearly, argmax per pixel."""
    majority: tuple[float, ...]
    """Each token's most frequent class over the whole token."""
    pure_windows: float
    """Share (0..1) of windows of 2x2 tokens that hold one class."""
    images: int

    @property
    def bilinear_miou(self) -> float:
        """Mean IoU in percent over the classes that occur."""
        return float(np.nanmean(self.bilinear))

    @property
    def majority_miou(self) -> float:
        """Mean IoU in percent over the classes that occur."""
        return float(np.nanmean(self.majority))


def token_fractions(label: NDArray[np.uint8], patch: int, classes: int) -> NDArray[np.float32]:
    """Share of each class in each token: label (H, W) -> float32 (classes, H / patch, W / patch).

    Pixels of no class (255) count for none, so a token's shares may sum to less than 1.

    Raises: ValueError if a side is no multiple of ``patch``.
    """
    height, width = label.shape
    if height % patch or width % patch:
        raise ValueError(f"label | {height}x{width} found, multiples of {patch} expected | crop or pad the labels")
    rows, columns = height // patch, width // patch
    token = np.arange(rows)[:, None].repeat(patch, 0) * columns + np.arange(columns).repeat(patch)[None, :]
    known = label < classes
    cells = label[known].astype(np.int64) * (rows * columns) + token[known]
    counts = np.bincount(cells, minlength=classes * rows * columns)
    return (counts / (patch * patch)).reshape(classes, rows, columns).astype(np.float32)


def _weights(length: int, scale: int) -> NDArray[np.float32]:
    """The (length * scale, length) interpolation matrix with half-pixel centres and clamped borders."""
    centre = np.maximum((np.arange(length * scale) + 0.5) / scale - 0.5, 0)
    low = np.minimum(centre.astype(np.int64), length - 1)
    high = np.minimum(low + 1, length - 1)
    share = (centre - low).astype(np.float32)
    matrix = np.zeros((length * scale, length), np.float32)
    np.add.at(matrix, (np.arange(length * scale), low), 1 - share)
    np.add.at(matrix, (np.arange(length * scale), high), share)
    return matrix


def upsample_bilinear(maps: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """(C, h, w) -> (C, h * scale, w * scale), as torch's F.interpolate(mode="bilinear", align_corners=False)."""
    _, rows, columns = maps.shape
    return np.asarray(_weights(rows, scale) @ maps @ _weights(columns, scale).T, np.float32)


def _iou(
    prediction_area: NDArray[np.int64], label_area: NDArray[np.int64], both: NDArray[np.int64]
) -> tuple[float, ...]:
    union = prediction_area + label_area - both
    return tuple(100.0 * float(b) / float(u) if u else float("nan") for b, u in zip(both, union, strict=True))


def oracle_ceiling(labels: Iterable[NDArray[np.uint8]], patch: int = 16, classes: int = len(CLASSES)) -> Ceiling:
    """Ceilings over labels uint8 (H, W); areas are summed over all images before the IoU, 255 is left out.

    Raises: ValueError if there are no labels, or a size is no multiple of two tokens.
    """
    areas = np.zeros((2, 3, classes), np.int64)  # oracle; predicted, labelled, both
    pure, windows, images = 0, 0, 0
    for label in labels:
        fractions = token_fractions(label, patch, classes)
        coarse = fractions.argmax(0).repeat(patch, 0).repeat(patch, 1)
        known = label != IGNORED
        for which, prediction in enumerate((upsample_bilinear(fractions, patch).argmax(0), coarse)):
            for part, chosen in enumerate((prediction[known], label[known], label[known & (prediction == label)])):
                areas[which, part] += np.bincount(chosen, minlength=classes)[:classes]
        _, rows, columns = fractions.shape
        if rows % 2 or columns % 2:
            raise ValueError(f"label | {rows}x{columns} tokens found, even numbers expected | crop or pad the labels")
        window = fractions.reshape(classes, rows // 2, 2, columns // 2, 2).sum((2, 4))
        pure += int((window.max(0) >= 4).sum())
        windows += window.shape[1] * window.shape[2]
        images += 1
    if images == 0:
        raise ValueError("labels | none found, at least one expected | give a folder with annotations")
    bilinear, majority = (_iou(*areas[which]) for which in range(2))
    return Ceiling(bilinear, majority, pure / windows, images)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(help="A folder that examples.scenes.generate wrote.")],
    split: Annotated[str, typer.Option(help="Which split's annotations to read.")] = "test",
    patch: Annotated[int, typer.Option(min=1, help="Side of a token in pixels.")] = 16,
) -> None:
    """Print the mIoU that oracles on the token grid reach."""
    paths = sorted((folder / "annotations" / split).glob("*.png"))
    if not paths:
        where = folder / "annotations" / split
        typer.echo(f"{where} | no .png found, labels expected | generate the data set, or name another split", err=True)
        raise typer.Exit(2)
    ceiling = oracle_ceiling((np.asarray(Image.open(path, formats=("PNG",))) for path in paths), patch)
    typer.echo(f"{'class':<12}{'bilinear':>10}{'majority':>10}   (IoU, %, {ceiling.images} images)")
    for name, fine, coarse in zip(CLASSES, ceiling.bilinear, ceiling.majority, strict=True):
        typer.echo(f"{name:<12}{fine:>10.2f}{coarse:>10.2f}")
    typer.echo(f"{'mIoU':<12}{ceiling.bilinear_miou:>10.2f}{ceiling.majority_miou:>10.2f}")
    typer.echo(f"windows of 2x2 tokens with one class: {100 * ceiling.pure_windows:.1f} %")


if __name__ == "__main__":
    app()
