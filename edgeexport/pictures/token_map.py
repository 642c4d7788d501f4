"""From an image's token decisions to its patch grid: which patches shared a token, and after which block they left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexport.errors import BundleError

__all__ = ["TokenMap", "TokenStage", "disagreement", "token_map_from_decisions"]


@dataclass(frozen=True)
class TokenStage:
    """Tokens that left after ``block`` (1-based), and how many went on."""

    block: int
    pruned: int
    left: int


@dataclass(frozen=True)
class TokenMap:
    """Decisions of one image by patch.

    Attributes:
        token: int32 (rows, columns), the patch's number among the tokens entering block 1.
        shared: bool (rows, columns), whether the patch's 2x2 window shares one token.
        exit_block: int32 (rows, columns), the 1-based block after which the token that stands for the patch was
            pruned; 0 where it stayed to the end.
        num_shared: Windows that share a token.
        tokens_in: Tokens entering block 1.
        stages: Pruning stages in order of depth.
    """

    token: NDArray[np.int32]
    shared: NDArray[np.bool_]
    exit_block: NDArray[np.int32]
    num_shared: int
    tokens_in: int
    stages: tuple[TokenStage, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        rows, columns = self.shared.shape
        return rows, columns

    @property
    def num_unshared(self) -> int:
        """Patches with a token of their own."""
        return int(self.shared.size - self.shared.sum())

    def tokens_entering(self, block: int) -> NDArray[np.int64]:
        """The patch's number among the tokens entering ``block``, int64 (rows, columns); -1 where its token has left."""
        stays = (self.exit_block == 0) | (self.exit_block >= block)
        # Survivors keep their order, and every token stands for a patch: its rank is its number.
        _, places = np.unique(self.token[stays], return_inverse=True)
        numbers = np.full(self.grid, -1, dtype=np.int64)
        numbers[stays] = places.ravel()
        return numbers


def token_map_from_decisions(
    grid: tuple[int, int], shared_windows: NDArray | None, pruned_tokens: Mapping[int, NDArray]
) -> TokenMap:
    """Lays one image's decisions out on its patches.

    The first block's tokens are the unshared patches in row-major order, then the shared windows in ascending order
    (semantics of CTS); pruned tokens of every stage are indices into these. Window w covers the patches
    ``(2 (w // wc) + {0, 1}, 2 (w % wc) + {0, 1})`` with ``wc = columns / 2``.

    Args:
        grid: Patch rows and columns.
        shared_windows: int (S,) window numbers in any order; None or empty without CTS.
        pruned_tokens: 1-based block -> int (k,) token indices.

    Raises:
        BundleError: Indices that the grid does not have, or that come twice: the graph and its manifest do not agree.
    """
    rows, columns = grid
    shared = np.zeros(grid, dtype=np.bool_)
    windows = np.zeros(0, dtype=np.int64) if shared_windows is None else np.sort(np.asarray(shared_windows, np.int64))
    if windows.size:
        if rows % 2 or columns % 2:
            raise disagreement("shared_windows", f"holds windows, but the grid of {rows} x {columns} patches is odd")
        _check_indices("shared_windows", windows, (rows // 2) * (columns // 2))
    window_rows, window_columns = np.divmod(windows, max(columns // 2, 1))
    for down in (0, 1):
        for right in (0, 1):
            shared[2 * window_rows + down, 2 * window_columns + right] = True

    token_of_patch = np.empty(grid, dtype=np.int64)
    num_unshared = int((~shared).sum())
    token_of_patch[~shared] = np.arange(num_unshared)  # boolean indexing runs row-major
    shared_tokens = num_unshared + np.arange(windows.size)
    for down in (0, 1):
        for right in (0, 1):
            token_of_patch[2 * window_rows + down, 2 * window_columns + right] = shared_tokens

    tokens = num_unshared + windows.size
    exit_of_token = np.zeros(tokens, dtype=np.int32)
    stages = []
    left = tokens
    for block in sorted(pruned_tokens):
        chosen = np.asarray(pruned_tokens[block], dtype=np.int64)
        name = f"pruned_tokens_{block}"
        _check_indices(name, np.sort(chosen), tokens)
        if exit_of_token[chosen].any():
            raise disagreement(name, "names tokens that an earlier stage had pruned")
        exit_of_token[chosen] = block
        left -= chosen.size
        stages.append(TokenStage(block, int(chosen.size), left))
    exit_block = exit_of_token[token_of_patch]
    return TokenMap(token_of_patch.astype(np.int32), shared, exit_block, int(windows.size), tokens, tuple(stages))


def _check_indices(name: str, ascending: NDArray[np.int64], size: int) -> None:
    if ascending.size and (ascending[0] < 0 or ascending[-1] >= size):
        raise disagreement(name, f"holds indices {ascending[0]} to {ascending[-1]}, expected 0 to {size - 1}")
    if (np.diff(ascending) == 0).any():
        raise disagreement(name, "holds an index twice")


def disagreement(name: str, problem: str) -> BundleError:
    """The error for decisions that do not fit the grid or the schedule of the manifest, to be raised by the caller."""
    return BundleError(name, problem, "graph and manifest do not belong together: build the bundle again")
