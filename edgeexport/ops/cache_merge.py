"""CacheMerge: a layer's cache of L tokens to its slots, each the plain mean of the tokens that go there.

Source: FlowMM (arXiv 2511.05534), section 3; the paper does not define the merge, LOOK-M (arXiv 2406.18139) calls it
averaged. Keys are merged as cached, after rotary embedding.
"""

from __future__ import annotations

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET

__all__ = ["ATTRIBUTES", "NAME", "cache_merge", "cache_merge_reference", "onnx_function"]

NAME = "CacheMerge"
ATTRIBUTES = {"average_keys": "int"}


def cache_merge(
    key: Tensor, value: Tensor, pivot: Tensor, target: Tensor, *, average_keys: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Merges; an opaque ONNX node while exporting, the torch reference otherwise.

    Args:
        key, value: float32 (B, H, L, D), as cached.
        pivot: int32 (B, H, S), the position whose slot it is; -1 for an empty slot.
        target: int32 (B, H, L), the slot that every token goes to, its pivot's included; -1: to none.
        average_keys: False leaves a slot the key of its pivot.

    Returns:
        Key and value float32 (B, H, S, D), zeros in empty slots, and ``count`` int32 (B, H, S), tokens in each slot.
    """
    if not torch.onnx.is_in_onnx_export():
        return cache_merge_reference(key, value, pivot, target, average_keys=average_keys)
    shape = (*pivot.shape, key.shape[3])
    merged_key, merged_value, count = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{NAME}",
        (key, value, pivot, target),
        {"average_keys": int(average_keys)},
        dtypes=(key.dtype, value.dtype, torch.int32),
        shapes=(shape, shape, tuple(pivot.shape)),
        version=DOMAIN_VERSION,
    )
    return merged_key, merged_value, count


def cache_merge_reference(
    key: Tensor, value: Tensor, pivot: Tensor, target: Tensor, *, average_keys: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The definition (see `cache_merge`)."""
    slots = torch.arange(pivot.shape[2], dtype=target.dtype)
    chosen = (target[:, :, None] == slots[:, None]).to(key.dtype)  # (B, H, S, L)
    count = chosen.sum(dim=3)
    share = chosen / count.clamp_min(1)[..., None]
    if average_keys:
        merged_key = share @ key
    else:
        positions = pivot.long().clamp_min(0)[..., None].expand(-1, -1, -1, key.shape[3])
        merged_key = torch.where((pivot >= 0)[..., None], torch.gather(key, 2, positions), 0.0)
    return merged_key, share @ value, count.to(torch.int32)


def onnx_function() -> onnx.FunctionProto:
    """The op in standard operators: sums are a product with the one-hot matrix of targets, never a scatter."""
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <average_keys> (key, value, pivot, target) => (merged_key, merged_value, count) {{
            zero = Constant <value_ints = [0]> ()
            one = Constant <value_ints = [1]> ()
            two = Constant <value_ints = [2]> ()
            three = Constant <value_ints = [3]> ()
            start = Constant <value_int = 0> ()
            step = Constant <value_int = 1> ()
            nothing = Constant <value_float = 0.0> ()
            single = Constant <value_float = 1.0> ()
            slots = Shape <start = 2, end = 3> (pivot)
            slots_scalar = Squeeze (slots)
            index = Range (start, slots_scalar, step)
            index_int = Cast <to = 6> (index)
            index_column = Unsqueeze (index_int, one)
            target_row = Unsqueeze (target, two)
            is_target = Equal (target_row, index_column)
            chosen = Cast <to = 1> (is_target)
            total = ReduceSum <keepdims = 1> (chosen, three)
            divisor = Max (total, single)
            share = Div (chosen, divisor)
            merged_value = MatMul (share, value)
            mean_key = MatMul (share, key)
            zero_int = Cast <to = 6> (zero)
            position = Max (pivot, zero_int)
            position_wide = Cast <to = 7> (position)
            position_column = Unsqueeze (position_wide, three)
            pivot_key = GatherND <batch_dims = 2> (key, position_column)
            filled = GreaterOrEqual (pivot, zero_int)
            filled_column = Unsqueeze (filled, three)
            own_key = Where (filled_column, pivot_key, nothing)
            average_scalar = Constant <value_int: int = @average_keys> ()
            averages = Cast <to = 9> (average_scalar)
            merged_key = Where (averages, mean_key, own_key)
            count_row = Squeeze (total, three)
            count = Cast <to = 6> (count_row)
        }}""")
