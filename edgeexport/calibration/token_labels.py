"""The class that a token's own pixels have, from an image's labels. No torch.

A patch has 16x16 pixels, a shared token the 32x32 of its window. Ignored pixels (255) have no say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeexport.evaluation.annotation import ignored_label

__all__ = ["patch_class_counts", "token_classes", "uniform_windows", "window_class_counts"]


def patch_class_counts(label: NDArray[np.integer], grid: tuple[int, int], num_classes: int) -> NDArray[np.int64]:
    """Pixels of every class in every patch, row by row: int64 (h w, K).

    Args:
        label: (H, W), classes 0..K-1 and `ignored_label`; at any size: as the photograph is brought to the model's input, so
            are its labels, and a pixel belongs to the patch that its centre falls in.
        grid: The model's (h, w) patches.
        num_classes: K.
    """
    rows, columns = grid
    height, width = label.shape
    down = (2 * np.arange(height) + 1) * rows // (2 * height)
    across = (2 * np.arange(width) + 1) * columns // (2 * width)
    patch = down[:, None] * columns + across[None, :]
    counted = label != ignored_label(num_classes)
    flat = patch[counted] * num_classes + label[counted]
    return np.bincount(flat, minlength=rows * columns * num_classes).reshape(rows * columns, num_classes)


def window_class_counts(counts: NDArray[np.int64], grid: tuple[int, int]) -> NDArray[np.int64]:
    """Those of 2x2 patches together: int64 (h w, K) -> (h w / 4, K), windows row by row; both sides of ``grid`` are even."""
    rows, columns = grid
    return counts.reshape(rows // 2, 2, columns // 2, 2, -1).sum(axis=(1, 3)).reshape(rows * columns // 4, -1)


def token_classes(
    counts: NDArray[np.int64], grid: tuple[int, int], shared_windows: NDArray[np.integer] | None
) -> NDArray[np.int64]:
    """Each token's most frequent class (equal counts: lowest), int64 (n,); -1 where all its pixels are ignored.

    Args:
        counts: From `patch_class_counts`.
        grid: (h, w) patches.
        shared_windows: int (S,), ascending, or None. Tokens stand as CTS orders them: unshared patches, then windows.
    """
    own = _majority(counts)
    if shared_windows is None or len(shared_windows) == 0:
        return own
    rows, columns = grid
    shared = np.zeros(rows * columns // 4, dtype=bool)
    shared[shared_windows] = True
    is_shared = np.repeat(np.repeat(shared.reshape(rows // 2, columns // 2), 2, axis=0), 2, axis=1).ravel()
    return np.concatenate([own[~is_shared], _majority(window_class_counts(counts, grid))[shared_windows]])


def uniform_windows(counts: NDArray[np.int64], grid: tuple[int, int]) -> int:
    """Windows whose labelled pixels are all of one class, so that a shared token can be right about all of them.

    Windows without a labelled pixel are among them: no label speaks against sharing.
    """
    return int(((window_class_counts(counts, grid) > 0).sum(axis=1) <= 1).sum())


def _majority(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
