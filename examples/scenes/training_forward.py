"""One forward pass of SegViT for training: every head's logits, with tokens shared and pruned in fixed numbers.

The computation is that of `edgeexport.fixed.model`, kept differentiable and with the logits that losses need.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexport.hosts.segvit.heads import PruneHead
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.reductions.cts_layout import SharingLayout, layout_fixed, share_patches, share_positions
from edgeexport.reductions.dtop_selection import confidence_and_label, prune_fixed
from edgeexport.tokens.patches import patches_from_image
from edgeexport.tokens.trace import inverse_permutation

__all__ = ["HeadOutput", "TrainingPass", "class_fractions", "forward_for_training", "uniform_windows"]


@dataclass(frozen=True)
class HeadOutput:
    """What one head said: class logits (B, K, 2), mask logits (B, K, n), and its tokens' class fractions (B, K, n)."""

    class_logits: Tensor
    mask_logits: Tensor
    fractions: Tensor


@dataclass(frozen=True)
class TrainingPass:
    """Heads in order of depth, and the scores (B, K, h, w) that a class map is made of."""

    heads: tuple[HeadOutput, ...]
    scores: Tensor


def class_fractions(label: Tensor, num_classes: int, cell: int) -> Tensor:
    """Share of every class in every square cell: int64 (B, H, W) -> float32 (B, K, H / cell, W / cell)."""
    one_hot = F.one_hot(label, num_classes).permute(0, 3, 1, 2).to(torch.float32)
    return F.avg_pool2d(one_hot, cell)


def uniform_windows(label: Tensor, window: int) -> Tensor:
    """Whether a window holds one class: int64 (B, H, W) -> bool (B, H / window, W / window). The label of CTS's policy."""
    cells = label.to(torch.float32)[:, None]
    return (F.max_pool2d(cells, window) == -F.max_pool2d(-cells, window))[:, 0]


def forward_for_training(
    model: SegVit,
    pixels: Tensor,
    fractions: Tensor,
    sharing_scores: Tensor | None,
    num_shared: int,
    prune: dict[int, int],
    protect_per_class: int = 5,
) -> TrainingPass:
    """Runs a batch with ``num_shared`` shared windows and ``prune`` tokens leaving after blocks.

    Args:
        model: Has PruneHeads.
        pixels: Normalised float32 (B, 3, H, W).
        fractions: Class fractions (B, K, h, w) of the patches.
        sharing_scores: Policy scores (B, windows) on the CPU; None shares nothing.
        num_shared: Windows to share.
        prune: Block -> tokens that leave; auxiliary heads of other blocks run too, and prune nothing.
        protect_per_class: DToP's context tokens.
    """
    backbone, patch = model.backbone, model.backbone.spec.patch_size
    grid = (fractions.shape[2], fractions.shape[3])
    position = backbone.position_grid(*grid)
    rows = fractions.flatten(2).transpose(1, 2)
    layout: SharingLayout | None = None
    if sharing_scores is not None:
        on_cpu = layout_fixed(sharing_scores, num_shared, grid[1] // 2)
        layout = SharingLayout(
            *(index.to(pixels.device) for index in (on_cpu.unshared_patches, on_cpu.shared_windows, on_cpu.source))
        )
        x = backbone.embed(share_patches(pixels, layout, patch), share_positions(position, layout, grid))
        half = F.avg_pool2d(fractions, 2).flatten(2).transpose(1, 2)
        rows = token_unmerge(torch.cat([rows, half], dim=1), layout.token_source)
    else:
        x = backbone.embed(patches_from_image(pixels, patch), position)
    batch, tokens = x.shape[:2]
    alive = torch.arange(tokens, dtype=torch.int32, device=x.device)[None].expand(batch, -1)
    heads: list[HeadOutput] = []
    left: list[Tensor] = []
    masks: list[Tensor] = []
    exits = {head.stages[0] for head in model.spec.auxiliary_heads}
    for number, block in enumerate(backbone.layers, start=1):
        x = block(x)
        if number not in exits:
            continue
        class_logits, mask_logits = model.auxiliary_head_after(number)(x)
        heads.append(HeadOutput(class_logits, mask_logits, token_unmerge(rows, alive).transpose(1, 2)))
        if k := prune.get(number, 0):
            with torch.no_grad():
                confidence, label = confidence_and_label(PruneHead.token_scores(class_logits, mask_logits))
                kept, pruned, _ = prune_fixed(confidence.cpu(), label.cpu(), k, fractions.shape[1], protect_per_class)
                kept, pruned = kept.to(x.device), pruned.to(x.device)
            masks.append(token_unmerge(mask_logits.transpose(1, 2), pruned))
            left.append(token_unmerge(alive[:, :, None], pruned)[:, :, 0])
            alive = token_unmerge(alive[:, :, None], kept)[:, :, 0]
            x = token_unmerge(x, kept)
    class_logits, mask_logits = model.decode_head(backbone.patch_tokens(x, len(backbone.layers)))
    heads.append(HeadOutput(class_logits, mask_logits, token_unmerge(rows, alive).transpose(1, 2)))
    canvas = torch.cat([*masks, mask_logits.transpose(1, 2)], dim=1)
    if left:
        canvas = token_unmerge(canvas, inverse_permutation(torch.cat([*left, alive], dim=1)))
    if layout is not None:
        canvas = token_unmerge(canvas, layout.source)
    scores = PruneHead.token_scores(class_logits, canvas.transpose(1, 2)).unflatten(2, grid)
    return TrainingPass(tuple(heads), scores)
