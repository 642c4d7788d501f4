"""Merging inside a block of a dense model: tokens merge at its start and are copied back to every place at its end.

Two forms (semantics: ToMe for dense tasks, and "Token Merging for Fast Stable Diffusion", section 4):

- 'tome': the whole block runs on the merged tokens, attention weighted by their sizes; what leaves the block is the merged
  tokens' output, copied. Tokens of a group are equal from then on, as the published form has it.
- 'sd': each residual branch runs on merged tokens, and its output is copied and added to the tokens as they were.

Both match once per block, on the block's input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeexport.hosts.segvit.vit import VitBlock
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.reductions.merging import Matching, merge_tokens, size_bias

__all__ = ["block_with_merging"]


def block_with_merging(
    block: VitBlock, x: Tensor, matching: Matching, variant: str, proportional_attention: bool
) -> Tensor:
    """Runs one pre-norm block on fewer tokens.

    Args:
        block: The block.
        x: (B, N, C).
        matching: Which tokens merge, decided on ``x``.
        variant: 'tome' or 'sd'.
        proportional_attention: Add log(size) to the key logits ('tome' alone).

    Returns:
        (B, N, C).
    """
    ones = torch.ones(x.shape[0], x.shape[1], 1)
    if variant == "tome":
        merged, size = merge_tokens(x, ones, matching)
        merged = block(merged, size_bias(size) if proportional_attention else None)
        return token_unmerge(merged, matching.position)
    for norm, branch in ((block.ln1, block.attn), (block.ln2, block.ffn)):
        merged, _ = merge_tokens(norm(x), ones, matching)
        x = x + token_unmerge(branch(merged), matching.position)
    return x
