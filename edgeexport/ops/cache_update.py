"""One new token in a cache of constant size, in two forms: standard operators alone, or those of opset 24.

With 'operators' the new key is put into its slot by comparing slot numbers, which every TensorRT takes (JetPack 6). With
'tensor_scatter' the graph has ONNX's own `TensorScatter` and `Attention`, which write in place (TensorRT of JetPack 7.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FORMS", "OPSET_OF_FORM", "cache_update", "slot_attention"]

FORMS = ("operators", "tensor_scatter")
OPSET_OF_FORM = {"operators": 20, "tensor_scatter": 24}


def cache_update(past: Tensor, new: Tensor, slot: Tensor, form: str) -> Tensor:
    """The cache (B, H, S, D) with ``new`` (B, H, 1, D) in slot ``slot`` int64 (B,)."""
    if form == "tensor_scatter" and torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            "TensorScatter", (past, new, slot), {"axis": 2, "mode": "linear"}, dtype=past.dtype, shape=past.shape
        )
    here = torch.arange(past.shape[2])[None] == slot[:, None]
    return torch.where(here[:, None, :, None], new, past)


def slot_attention(query: Tensor, key: Tensor, value: Tensor, shown: Tensor, form: str) -> Tensor:
    """Attention of one token over slots.

    Args:
        query: (B, Hq, 1, D); head h reads KV head h // (Hq / Hkv).
        key, value: (B, Hkv, S, D).
        shown: bool (B, S).
        form: One of `FORMS`.

    Returns:
        (B, 1, Hq D).
    """
    batch, heads, _, size = query.shape
    if form == "tensor_scatter" and torch.onnx.is_in_onnx_export():
        attended = torch.onnx.ops.symbolic(
            "Attention",
            (query, key, value, shown[:, None, None]),
            {},
            dtype=query.dtype,
            shape=tuple(query.shape),
        )
        return attended.transpose(1, 2).reshape(batch, 1, heads * size)
    grouped = query.reshape(batch, key.shape[1], heads // key.shape[1], size) * size**-0.5
    logits = grouped @ key.transpose(2, 3)
    logits = torch.where(shown[:, None, None], logits, torch.finfo(torch.float32).min)
    return (torch.softmax(logits, dim=-1) @ value).reshape(batch, 1, heads * size)
