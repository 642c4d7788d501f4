"""A diffusion block as a recipe describes it. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SdBlockSpec"]


@dataclass(frozen=True)
class SdBlockSpec:
    """Transformer block of a Stable-Diffusion U-Net: self-attention, cross-attention to the text, GEGLU MLP.

    ``grid`` is the latent's (rows, columns); ``context_tokens`` x ``context_width`` is the text.
    """

    type: str
    grid: tuple[int, int]
    embed_dims: int
    num_heads: int
    context_tokens: int
    context_width: int
