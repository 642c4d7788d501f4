"""Windows that slide over an image of fixed size: where they lie, cut out as a batch, and joined again.

As mmsegmentation's `slide_inference` places and averages them: in steps of the stride, the last of a row or column moved back
to the image's edge; where windows overlap, what they predict is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["CutWindows", "JoinedWindows", "WindowGrid"]


@dataclass(frozen=True)
class WindowGrid:
    """Windows of ``window`` (height, width) over an image of ``image``, in steps of ``stride``; all in pixels."""

    image: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]

    @property
    def rows(self) -> tuple[int, ...]:
        """Upper edges."""
        return _starts(self.image[0], self.window[0], self.stride[0])

    @property
    def columns(self) -> tuple[int, ...]:
        """Left edges."""
        return _starts(self.image[1], self.window[1], self.stride[1])

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.rows) * len(self.columns)


class CutWindows(nn.Module):
    """(B, C, H, W) -> (B windows, C, h, w): an image's windows row by row, then the next image's."""

    def __init__(self, grid: WindowGrid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, image: Tensor) -> Tensor:
        height, width = self.grid.window
        cut = [image[:, :, y : y + height, x : x + width] for y in self.grid.rows for x in self.grid.columns]
        return torch.stack(cut, dim=1).flatten(0, 1)


class JoinedWindows(nn.Module):
    """(B windows, K, h, w) -> (B, K, H, W): the mean of what the windows over a pixel say.

    Windows of a row are added up before rows are, so that little is as large as the image.
    """

    def __init__(self, grid: WindowGrid) -> None:
        super().__init__()
        self.grid = grid
        counted = torch.zeros(1, 1, *grid.image)
        height, width = grid.window
        for y in grid.rows:
            for x in grid.columns:
                counted[:, :, y : y + height, x : x + width] += 1
        self.share: Tensor
        self.register_buffer("share", 1.0 / counted, persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        grid = self.grid
        windows, across = scores.unflatten(0, (-1, grid.count)), len(grid.columns)
        bands = [
            _laid_over([windows[:, row + column] for column in range(across)], grid.columns, grid.window[1], dim=3)
            for row in range(0, grid.count, across)
        ]
        return _laid_over(bands, grid.rows, grid.window[0], dim=2) * self.share


def _laid_over(parts: Sequence[Tensor], starts: Sequence[int], size: int, dim: int) -> Tensor:
    """Parts of ``size`` along an axis, each at its start: their sum where they overlap.

    Put together of the cells between all edges: padding every part to the whole side, and adding that up, moved several times
    the memory of a street scene's scores for every window.
    """
    edges = sorted({*starts, *(start + size for start in starts)})
    cells = []
    for first, last in pairwise(edges):
        over = [
            part.narrow(dim, first - start, last - first)
            for part, start in zip(parts, starts, strict=True)
            if start <= first and last <= start + size
        ]
        cells.append(reduce(torch.add, over))
    return torch.cat(cells, dim=dim) if len(cells) > 1 else cells[0]


def _starts(side: int, window: int, stride: int) -> tuple[int, ...]:
    steps = max(side - window + stride - 1, 0) // stride + 1
    return tuple(min(step * stride, side - window) for step in range(steps))
