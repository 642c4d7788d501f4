"""Multi-octave noise: a few tiles per scene from which every texture is cut."""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["NoiseBank"]

_TILE = 256


class NoiseBank:
    """Noise tiles of one scene, about -1..1: ``coarse`` (blobs of 64 px and finer), ``medium`` (16 px), ``fine`` (4 px).

    Only sums and Pillow's bicubic resampling are used, so that the values do not hang on a CPU's sine or exponential.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        octave = {cells: self._octave(cells) for cells in (4, 8, 16, 32, 64, 128)}
        self.tiles: dict[str, NDArray[np.float32]] = {
            "coarse": 0.9 * octave[4] + 0.5 * octave[8] + 0.25 * octave[16] + 0.12 * octave[32],
            "medium": 0.8 * octave[16] + 0.5 * octave[32] + 0.3 * octave[64],
            "fine": 0.7 * octave[64] + 0.6 * octave[128],
        }

    def with_cuts_from(self, rng: np.random.Generator) -> NoiseBank:
        """The same tiles, cut at other random places."""
        bank = copy(self)
        bank._rng = rng
        return bank

    def _octave(self, cells: int) -> NDArray[np.float32]:
        grid = self._rng.random((cells, cells), dtype=np.float32) * 2 - 1
        wrapped = Image.fromarray(np.pad(grid, 2, mode="wrap"))
        box = (2, 2, cells + 2, cells + 2)
        return np.asarray(wrapped.resize((_TILE, _TILE), Image.Resampling.BICUBIC, box=box))

    def cut(self, kind: str, height: int, width: int, stretch: tuple[int, int] = (1, 1)) -> NDArray[np.float32]:
        """A random (height, width) float32 cut of a tile; ``stretch`` (rows, columns) enlarges the pattern."""
        oy, ox = (int(value) for value in self._rng.integers(0, _TILE, 2))
        rows = (np.arange(height) // stretch[0] + oy) % _TILE
        columns = (np.arange(width) // stretch[1] + ox) % _TILE
        return self.tiles[kind][rows[:, None], columns[None, :]]

    def at(self, kind: str, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """The tile's values at integer positions of any range (wrapped); shapes broadcast."""
        return self.tiles[kind][rows % _TILE, columns % _TILE]
