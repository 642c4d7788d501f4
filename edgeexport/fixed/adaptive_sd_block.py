"""A Stable Diffusion block with token merging as published, images one by one. The reference.

Source: "Token Merging for Fast Stable Diffusion", section 4: tokens are matched once per block on the block's input,
merged by their plain mean behind the norm of every residual branch, and unmerged by copying before the branch is added.
Destinations are the first token of every 2x2 cell: the published random choice, without its randomness.

It shares weights and branches with `edgeexport.fixed.fixed_sd_block`; what matches and moves tokens is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.reductions.published_merge import MergedTokens, merge_step_reference, unmerged_reference

__all__ = ["AdaptiveSdBlock", "AdaptiveSdImage"]


@dataclass(frozen=True)
class AdaptiveSdImage:
    """Result for one image; token indices count the block's input tokens.

    Attributes:
        tokens: float32 (N, C), the block's output.
        edges: (source, destination) of every merge, best first.
        kept: Candidates that did not merge, best first.
        groups: For every merged token the input tokens it is made of, its destination first.
    """

    tokens: Tensor
    edges: list[tuple[int, int]]
    kept: list[int]
    groups: list[list[int]]


class AdaptiveSdBlock:
    """Runs an `SdBlock` with ``r`` tokens merged in every branch."""

    def __init__(self, model: SdBlock, r: int) -> None:
        self.model, self.r = model, r

    @torch.no_grad()
    def run(self, hidden_states: Tensor, context: Tensor) -> list[AdaptiveSdImage]:
        """float32 (B, N, C) and (B, t, context width) -> one result per image.

        Raises:
            BuildError: ``r`` is more than the grid can merge.
        """
        return [self._one(x, text) for x, text in zip(hidden_states, context, strict=True)]

    def _one(self, x: Tensor, text: Tensor) -> AdaptiveSdImage:
        model = self.model
        merge = self._matching(x)
        x = x + self._reduced(model.norm1(x), merge.groups, model.self_branch)
        x = x + self._reduced(model.norm2(x), merge.groups, lambda rows: model.text_branch(rows, text[None]))
        x = x + self._reduced(model.norm3(x), merge.groups, model.mlp_branch)
        return AdaptiveSdImage(x, merge.edges, merge.kept, merge.groups)

    def _matching(self, x: Tensor) -> MergedTokens:
        columns = self.model.spec.grid[1]
        return merge_step_reference(x, torch.ones(x.shape[0]), x, kind="cells", prefix=0, r=self.r, columns=columns)

    @staticmethod
    def _reduced(normed: Tensor, groups: list[list[int]], branch: Callable[[Tensor], Tensor]) -> Tensor:
        merged = torch.stack([normed[group].mean(dim=0) for group in groups])
        return unmerged_reference(branch(merged[None])[0], groups)
