"""Multi-head attention, written once for torch eager and for export.

Parameter names follow torch's `nn.MultiheadAttention` (backbone) and SegViT's decoder, so published checkpoints fit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CrossAttention", "SelfAttention", "attend", "split_heads"]


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, n, C) -> (B, heads, n, C / heads)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention over heads: (B, h, m, d), (B, h, n, d), (B, h, n, d) -> (B, m, h * d).

    ``bias`` broadcasts to (B, h, m, n) and is added to the scaled logits. While exporting, the scale goes onto the
    query before the first product: the form that TensorRT fuses.
    """
    if torch.onnx.is_in_onnx_export():
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        if bias is not None:
            scores = scores + bias
        mixed = scores.softmax(dim=-1) @ value
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return mixed.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Self-attention with a joint q/k/v projection; keys ``in_proj_weight``, ``in_proj_bias``, ``out_proj``."""

    def __init__(self, width: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width)) if qkv_bias else None
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, n, C) -> (B, n, C); ``bias`` as in `attend`."""
        return self.out_proj(attend(*self.heads(x), bias))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, heads, n, d) each."""
        joint = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (split_heads(part, self.num_heads) for part in joint.chunk(3, dim=-1))
        return query, key, value


class CrossAttention(nn.Module):
    """SegViT's attention-to-mask: class queries attend to tokens, and the logits before softmax are the masks."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, d), (B, n, d) -> attended queries (B, K, d), mask logits (B, K, n) averaged over heads."""
        query = split_heads(self.q(queries), self.num_heads)
        query = query * query.shape[-1] ** -0.5
        key = split_heads(self.k(tokens), self.num_heads)
        value = split_heads(self.v(tokens), self.num_heads)
        logits = query @ key.transpose(-2, -1)
        mixed = (logits.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        return self.proj(mixed), logits.mean(dim=1)
