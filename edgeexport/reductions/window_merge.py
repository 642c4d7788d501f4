"""Merging of whole 2x2 windows: the four tokens of the windows that are most alike in themselves become one each.

Source: Norouzi et al., "ALGM: Adaptive Local-then-Global Token Merging", section 3.2 (conditional local average pooling).
`merge_windows` is batched and exports; `windows_reference` is one image in loops, and exists to check the other.

Order afterwards, as the published code leaves it: [prefix | merged windows, the most alike first | other patches, ascending].
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from edgeexport.ops.token_partition import token_partition
from edgeexport.ops.token_unmerge import token_unmerge

__all__ = [
    "WindowLayout",
    "WindowsMerged",
    "merge_windows",
    "ranked_windows",
    "window_similarity",
    "window_similarity_reference",
    "windows_reference",
]

_EPSILON = 1e-12  # lower bound of norms, as in `edgeexport.ops.token_match`


@dataclass(frozen=True)
class WindowLayout:
    """``prefix`` tokens, then patches row-major in ``columns`` columns, of which ``merged`` windows merge."""

    tokens: int
    prefix: int
    columns: int
    merged: int

    @property
    def windows(self) -> int:
        """2x2 windows of the grid."""
        return (self.tokens - self.prefix) // 4

    def table(self) -> list[list[int]]:
        """The four patches of every window, row-major; windows row-major too; prefix not counted."""
        across = self.columns // 2
        corners = [(w // across) * 2 * self.columns + (w % across) * 2 for w in range(self.windows)]
        return [[c, c + 1, c + self.columns, c + self.columns + 1] for c in corners]


@dataclass(frozen=True)
class WindowsMerged:
    """Tokens (B, m, C) and sizes (B, m, 1) afterwards, and int32 (B, n), the place there of every token before."""

    x: Tensor
    size: Tensor
    position: Tensor


def window_similarity(x: Tensor, layout: WindowLayout) -> Tensor:
    """Mean cosine of the six pairs of a window: (B, n, C) -> float32 (B, windows).

    With unit vectors u the sum over ordered pairs is |sum u|^2 - sum |u|^2, which needs no table of pairs.
    """
    patches = x[:, layout.prefix :].to(torch.float32)
    unit = patches / patches.square().sum(dim=2, keepdim=True).sqrt().clamp(min=_EPSILON)
    rows = (layout.tokens - layout.prefix) // layout.columns
    grid = unit.reshape(x.shape[0], rows // 2, 2, layout.columns // 2, 2, x.shape[2])
    together = grid.sum(dim=(2, 4)).square().sum(dim=3)
    alone = grid.square().sum(dim=(2, 4, 5))
    return ((together - alone) / 12).flatten(1)


def ranked_windows(similarity: Tensor, count: int) -> Tensor:
    """The ``count`` windows most alike, the best first, of equals the lowest: float32 (B, W) -> int32 (B, count).

    Ranks are counted over all pairs, so that ties do not depend on how a runtime sorts.
    """
    windows = similarity.shape[1]
    index = torch.arange(windows)
    own, other = similarity[:, :, None], similarity[:, None, :]
    ahead = (other > own) | ((other == own) & (index[None, :] < index[:, None])[None])
    rank = ahead.to(torch.float32).sum(dim=2).to(torch.int32)
    every = torch.arange(windows, dtype=torch.int32)[None].expand(similarity.shape[0], -1)
    return torch.zeros_like(rank).scatter(1, rank.long(), every)[:, :count]


def merge_windows(x: Tensor, chosen: Tensor, layout: WindowLayout) -> WindowsMerged:
    """Merges the windows ``chosen``, int32 (B, S) in the order in which they are to stand; x is (B, n, C)."""
    batch, prefix, merged = x.shape[0], layout.prefix, layout.merged
    patches = layout.tokens - prefix
    table = torch.tensor(layout.table(), dtype=torch.int32)
    members = table[chosen.long()].flatten(1)  # (B, 4 S)
    window_of = torch.zeros(patches, dtype=torch.int32)
    window_of[table.long().flatten()] = torch.arange(layout.windows, dtype=torch.int32).repeat_interleave(4)
    is_merged = (chosen[:, :, None] == window_of).to(torch.float32).amax(dim=1)
    # Exactly the chosen windows' patches score 1, so this partition has no ties at its cut and keeps the others in order.
    others, _ = token_partition(is_merged, 4 * merged)
    means = token_unmerge(x, members + prefix).unflatten(1, (merged, 4)).mean(dim=2)
    parts = [means, token_unmerge(x, others + prefix)]
    x = torch.cat([x[:, :prefix], *parts] if prefix else parts, dim=1)
    left = others.shape[1]
    size = torch.cat([torch.ones(prefix), torch.full((merged,), 4.0), torch.ones(left)])[None, :, None]
    place = torch.cat([torch.arange(merged).repeat_interleave(4), torch.arange(merged, merged + left)]) + prefix
    index = torch.cat([members, others], dim=1)
    position = torch.zeros(batch, patches, dtype=torch.int32).scatter(
        1, index.long(), place.to(torch.int32)[None].expand(batch, -1)
    )
    if prefix:
        first = torch.arange(prefix, dtype=torch.int32)[None].expand(batch, -1)
        position = torch.cat([first, position], dim=1)
    return WindowsMerged(x, size.expand(batch, -1, -1), position)


def window_similarity_reference(x: Tensor, layout: WindowLayout) -> list[float]:
    """Mean cosine of the six pairs of every window, pair by pair; (n, C)."""
    patches = x[layout.prefix :].to(torch.float32)
    found = []
    for members in layout.table():
        pairs = [
            torch.cosine_similarity(patches[a], patches[b], dim=0, eps=_EPSILON) for a, b in combinations(members, 2)
        ]
        found.append(float(torch.stack(pairs).mean()))
    return found


def windows_reference(x: Tensor, ranked: list[int], layout: WindowLayout) -> tuple[Tensor, Tensor, list[int]]:
    """Merges the windows ``ranked``, in this order: tokens (m, C), sizes (m,), and the place of every token before."""
    prefix, table = layout.prefix, layout.table()
    rows, sizes = [x[token] for token in range(prefix)], [1.0] * prefix
    place = {token: token for token in range(prefix)}
    for window in ranked:
        members = [prefix + patch for patch in table[window]]
        place |= dict.fromkeys(members, len(rows))
        rows.append(x[members].sum(dim=0) / 4)
        sizes.append(4.0)
    for token in range(prefix, layout.tokens):
        if token not in place:
            place[token] = len(rows)
            rows.append(x[token])
            sizes.append(1.0)
    return torch.stack(rows), torch.tensor(sizes), [place[token] for token in range(layout.tokens)]
