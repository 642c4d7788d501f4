"""Token merging with constant counts, batched: one step of ToMe, DSM or dense merging, through the custom ops.

Sources: ToMe (Bolya et al., "Token Merging: Your ViT But Faster", section 3) and its use around Stable Diffusion's
blocks (Bolya and Hoffman, "Token Merging for Fast Stable Diffusion"); DSM (Heo et al., "Training-Free Acceleration of
ViTs with Delayed Spatial Merging"). The counts are fixed by the schedule, so that the published methods and this form
choose the same tokens; `edgeexport.reductions.published_merge` is the independent reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgeexport.ops.match_tables import MatchTables
from edgeexport.ops.token_merge import position_map, token_merge
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.tokens.trace import inverse_permutation

__all__ = ["Decision", "Matching", "matching_from_decision", "merge_rotation", "merge_tokens", "size_bias"]

Decision = tuple[Tensor, Tensor, Tensor]
"""What `token_match` returns: source (B, R), target (B, R) and kept (B, K), int32."""


@dataclass(frozen=True)
class Matching:
    """Which tokens merge, for N tokens of which M are left.

    Attributes:
        source, target, kept: int32 (B, R), (B, R), (B, K), as `token_match` returns them.
        order: int32 (B, M), row of ``[prefix | kept | destinations]`` that stands at each place afterwards; None where
            that order is the final one.
        position: int32 (B, N), the place of every token afterwards.
        tables: What was matched with what.
    """

    source: Tensor
    target: Tensor
    kept: Tensor
    order: Tensor | None
    position: Tensor
    tables: MatchTables

    @property
    def decision(self) -> Decision:
        """(source, target, kept)."""
        return self.source, self.target, self.kept


def matching_from_decision(decision: Decision, tables: MatchTables, *, raster: bool = False) -> Matching:
    """Where all tokens go once it is decided which of them merge.

    Args:
        decision: What `token_match` returned.
        tables: Sources, destinations and windows.
        raster: Put the tokens that stay into ascending order of their index, prefix tokens first; DSM's next grid.
    """
    source, target, kept = decision
    position = position_map(source, target, kept, tables)
    if not raster:
        return Matching(source, target, kept, None, position, tables)
    batch = source.shape[0]
    stays = torch.tensor(tables.destination_tokens, dtype=torch.int32)[None].expand(batch, -1)
    index = torch.cat([kept, stays], dim=1)
    rank = torch.topk(index.to(torch.float32), index.shape[1], dim=1, largest=False).indices.to(torch.int32)
    prefix = torch.arange(tables.prefix, dtype=torch.int32)[None].expand(batch, -1)
    order = torch.cat([prefix, rank + tables.prefix], dim=1)
    place = inverse_permutation(order)
    position = token_unmerge(place[:, :, None], position)[:, :, 0]
    return Matching(source, target, kept, order, position, tables)


def merge_tokens(x: Tensor, size: Tensor, matching: Matching) -> tuple[Tensor, Tensor]:
    """Merges tokens as matched: (B, N, C) and sizes (B, N, 1) -> (B, M, C) and sizes (B, M, 1).

    A token is the mean of what merged into it, weighted by size; sizes add up.
    """
    x, size = token_merge(x, size, *matching.decision, matching.tables)
    if matching.order is None:
        return x, size
    return token_unmerge(x, matching.order), token_unmerge(size, matching.order)


def merge_rotation(rotation: Tensor, size: Tensor, matching: Matching, rule: str) -> Tensor:
    """Rotations of the merged tokens: (B, N, 2 d) and the sizes (B, N, 1) before -> (B, M, 2 d).

    ``rule`` 'destination': a token keeps its place, whatever merges into it. 'mean': the mean of the rotations that it stands
    for, weighted by size, as the attention logits of its tokens would average if their content were the same.
    """
    if rule == "mean":
        return merge_tokens(rotation, size, matching)[0]
    tables, batch = matching.tables, rotation.shape[0]
    ends = [torch.arange(tables.prefix), torch.tensor(tables.destination_tokens)]
    prefix, stays = (end.to(torch.int32)[None].expand(batch, -1) for end in ends)
    index = torch.cat([prefix, matching.kept, stays], dim=1)
    if matching.order is not None:
        index = token_unmerge(index[:, :, None], matching.order)[:, :, 0]
    return token_unmerge(rotation, index)


def size_bias(size: Tensor) -> Tensor:
    """Proportional attention: log(size) of every key, (B, M, 1) -> (B, 1, 1, M) to add to attention logits.

    Source: ToMe, equation 1.
    """
    return size.log().transpose(1, 2)[:, None]
