"""Flat patches of an image."""

from __future__ import annotations

from torch import Tensor

__all__ = ["patches_from_image"]


def patches_from_image(image: Tensor, patch_size: int) -> Tensor:
    """Cuts an image into flat patches, row-major: (B, 3, H, W) -> (B, H W / P^2, 3 P^2).

    The last axis is (channel, row, column), the order of a convolution kernel, so that embedding is one product.
    """
    batch, channels, height, width = image.shape
    rows, columns = height // patch_size, width // patch_size
    cells = image.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * patch_size * patch_size)
