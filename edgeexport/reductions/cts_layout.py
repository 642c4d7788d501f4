"""CTS, content-aware token sharing: which 2x2 windows share a token, in which order tokens stand, how results return.

Source: "Content-aware Token Sharing for Efficient Semantic Segmentation with Vision Transformers", section 3.
CTS shares a fixed number of windows as published, so its two forms differ in how they are written, not in counts:
`layout_fixed` is batched and exports; `layout_reference` loops over images and sorts, and exists to check the other.

Token order: unshared tokens in row-major order of their patches, then shared tokens in row-major order of their windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexport.ops.token_partition import token_partition
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.tokens.patches import patches_from_image

__all__ = ["SharingLayout", "layout_fixed", "layout_reference", "share_patches", "share_positions", "window_scores"]


@dataclass(frozen=True)
class SharingLayout:
    """Where every token comes from, for N patches, W = N / 4 windows and S shared windows.

    Attributes:
        unshared_patches: int32 (B, N - 4 S), patch index of each unshared token, ascending.
        shared_windows: int32 (B, S), window index of each shared token, ascending.
        source: int32 (B, N), the token that represents each patch.
    """

    unshared_patches: Tensor
    shared_windows: Tensor
    source: Tensor

    @property
    def token_source(self) -> Tensor:
        """int32 (B, n): each token's row in the list [N patches | W half-resolution patches]."""
        patches = self.source.shape[1]
        return torch.cat([self.unshared_patches, self.shared_windows + patches], dim=1)


def window_scores(policy_logits: Tensor) -> Tensor:
    """Sharing score of every window, ordered like softmax(logits)[1]: (B, 2, h, w) -> l1 - l0, (B, h w)."""
    return (policy_logits[:, 1] - policy_logits[:, 0]).flatten(1)


def layout_fixed(scores: Tensor, num_shared: int, window_columns: int) -> SharingLayout:
    """Shares the ``num_shared`` best windows (equal scores: lowest window first), with constant shapes.

    Args:
        scores: float32 (B, W), from `window_scores`.
        num_shared: S, 0 < S <= W.
        window_columns: Windows per row of the window grid.
    """
    batch, windows = scores.shape
    patches = 4 * windows
    _, shared_windows = token_partition(scores, num_shared)
    shared = _patches_of_windows(shared_windows, window_columns, windows)
    # Exactly the shared patches score 1, so this partition has no ties at its cut and keeps the others in order.
    is_shared = (
        (shared_windows[:, :, None] == _windows_of_patches(window_columns, windows)).to(torch.float32).amax(dim=1)
    )
    unshared, _ = token_partition(is_shared, 4 * num_shared)
    count = unshared.shape[1]
    shared_token = (count + torch.arange(num_shared, dtype=torch.int32))[None, :, None].expand(batch, -1, 4)
    own_token = torch.arange(count, dtype=torch.int32)[None].expand(batch, -1)
    position = torch.cat([unshared, shared.flatten(1)], dim=1)
    token = torch.cat([own_token, shared_token.flatten(1)], dim=1)
    source = torch.zeros(batch, patches, dtype=torch.int32).scatter(1, position.long(), token)
    return SharingLayout(unshared, shared_windows, source)


def layout_reference(scores: Tensor, num_shared: int, window_columns: int) -> SharingLayout:
    """The same layout as published: one image at a time, in plain index sets (see `layout_fixed`)."""
    unshared_all, shared_all, source_all = [], [], []
    columns = 2 * window_columns
    for row in scores.tolist():
        best = sorted(range(len(row)), key=lambda window: (-row[window], window))[:num_shared]
        shared = sorted(best)
        token_of_window = {window: number for number, window in enumerate(shared)}
        unshared, shared_patch = [], {}
        for patch in range(4 * len(row)):
            window = (patch // columns // 2) * window_columns + (patch % columns) // 2
            if window in token_of_window:
                shared_patch[patch] = token_of_window[window]
            else:
                unshared.append(patch)
        token_of_patch = {patch: number for number, patch in enumerate(unshared)}
        source = [
            token_of_patch[patch] if patch in token_of_patch else len(unshared) + shared_patch[patch]
            for patch in range(4 * len(row))
        ]
        unshared_all.append(unshared)
        shared_all.append(shared)
        source_all.append(source)
    as_index = [torch.tensor(rows, dtype=torch.int32) for rows in (unshared_all, shared_all, source_all)]
    return SharingLayout(*as_index)


def share_patches(image: Tensor, layout: SharingLayout, patch_size: int) -> Tensor:
    """The flat patch behind every token: the patch itself, or the 2x2-average-pooled window.

    (B, 3, H, W) -> (B, n, 3 P^2). Pixels are gathered before the embedding, so only n rows are embedded.
    """
    full = patches_from_image(image, patch_size)
    half = patches_from_image(F.avg_pool2d(image, 2), patch_size)
    return token_unmerge(torch.cat([full, half], dim=1), layout.token_source)


def share_positions(position: Tensor, layout: SharingLayout, grid: tuple[int, int]) -> Tensor:
    """Position embedding of every token; a shared token has the mean of its four: (1, N, C) -> (B, n, C)."""
    image = position.transpose(1, 2).unflatten(2, grid)
    pooled = F.avg_pool2d(image, 2).flatten(2).transpose(1, 2)
    rows = torch.cat([position, pooled], dim=1)
    return token_unmerge(rows.expand(layout.source.shape[0], -1, -1), layout.token_source)


def _windows_of_patches(window_columns: int, window_count: int) -> Tensor:
    """int32 (4 W,): the window of every patch."""
    patch, columns = torch.arange(4 * window_count, dtype=torch.int32), 2 * window_columns
    return (patch // columns // 2) * window_columns + (patch % columns) // 2


def _patches_of_windows(window: Tensor, window_columns: int, window_count: int) -> Tensor:
    """int32 (B, m) window indices -> int32 (B, m, 4) patch indices, row-major inside the window, by a constant table."""
    columns = 2 * window_columns
    every = torch.arange(window_count, dtype=torch.int32)
    corner = (every // window_columns) * (2 * columns) + (every % window_columns) * 2
    table = corner[:, None] + torch.tensor([0, 1, columns, columns + 1], dtype=torch.int32)
    return table[window.long()]
