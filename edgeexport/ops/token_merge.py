"""TokenMerge: merge tokens into others as size-weighted means, with the sizes added up.

Output order: [prefix | sources that stay | destinations]. A token's size is the number of input patches that it stands
for. Source: ToMe, section 3 ("tracking token size").
"""

from __future__ import annotations

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.match_tables import MatchTables

__all__ = [
    "ATTRIBUTES",
    "NAME",
    "onnx_function",
    "position_map",
    "tensorrt_function",
    "token_merge",
    "token_merge_reference",
]

NAME = "TokenMerge"
ATTRIBUTES = {"prefix": "int", "destinations": "ints"}


def token_merge(
    x: Tensor, size: Tensor, source: Tensor, target: Tensor, kept: Tensor, tables: MatchTables
) -> tuple[Tensor, Tensor]:
    """Merges the tokens of every image; an opaque ONNX node while exporting, the torch reference otherwise.

    Args:
        x: float32 (B, N, C).
        size: float32 (B, N, 1), positive.
        source: int32 (B, R), the tokens that merge.
        target: int32 (B, R), the destination of each.
        kept: int32 (B, K), the sources that stay.
        tables: Of this block.

    Returns:
        ``merged`` float32 (B, M, C), M = P + K + destinations = N - R, and ``merged_size`` float32 (B, M, 1). A
        destination is the mean of itself and its sources weighted by size, and its size their sum; the other rows are
        copies.
    """
    if not torch.onnx.is_in_onnx_export():
        return token_merge_reference(x, size, source, target, kept, tables)
    batch, _, width = x.shape
    prefix, surplus = tables.prefix, 0
    # No runtime likes tensors of no elements: where no source stays, the last prefix token is passed as one that does;
    # without any prefix token some token is, and its row dropped.
    if tables.K == 0 and prefix:
        prefix -= 1
        kept = torch.full((batch, 1), prefix, dtype=torch.int32, device=x.device)
    elif tables.K == 0:
        surplus = 1
        kept = source[:, :1]
    rows = tables.tokens_out + surplus
    merged, merged_size = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{NAME}",
        (x, size, source, target, kept),
        {"prefix": prefix, "destinations": list(tables.destination_tokens)},
        dtypes=(x.dtype, torch.float32),
        shapes=((batch, rows, width), (batch, rows, 1)),
        version=DOMAIN_VERSION,
    )
    return (merged[:, 1:], merged_size[:, 1:]) if surplus else (merged, merged_size)


def token_merge_reference(
    x: Tensor, size: Tensor, source: Tensor, target: Tensor, kept: Tensor, tables: MatchTables
) -> tuple[Tensor, Tensor]:
    """The definition (see `token_merge`).

    Rows are weighted by shares of the new size, so that a destination into which nothing merges is copied exactly.
    """
    destinations = torch.tensor(tables.destination_tokens, dtype=torch.int64, device=x.device)
    chosen = (target[:, None, :] == destinations[:, None]).to(size.dtype)  # (B, nB, R)
    weight = chosen * _rows(size, source).transpose(1, 2)
    total = size[:, destinations] + weight.sum(dim=2, keepdim=True)
    mean = x[:, destinations] * (size[:, destinations] / total) + (weight / total) @ _rows(x, source)
    merged = torch.cat([x[:, : tables.prefix], _rows(x, kept), mean], dim=1)
    return merged, torch.cat([size[:, : tables.prefix], _rows(size, kept), total], dim=1)


def onnx_function() -> onnx.FunctionProto:
    """The op in standard operators: the sums are a product with the one-hot matrix of targets, never a scatter."""
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <prefix, destinations> (x, size, source, target, kept) => (merged, merged_size) {{
            destination_index = Constant <value_ints: ints = @destinations> ()
            prefix_scalar = Constant <value_int: int = @prefix> ()
            zero = Constant <value_ints = [0]> ()
            one = Constant <value_ints = [1]> ()
            last = Constant <value_ints = [-1]> ()
            column = Constant <value_ints = [1, -1, 1]> ()
            prefix_end = Reshape (prefix_scalar, one)
            destination_int = Cast <to = 6> (destination_index)
            destination_column = Reshape (destination_int, column)

            x_prefix = Slice (x, zero, prefix_end, one)
            size_prefix = Slice (size, zero, prefix_end, one)
            kept_wide = Cast <to = 7> (kept)
            kept_position = Unsqueeze (kept_wide, last)
            x_kept = GatherND <batch_dims = 1> (x, kept_position)
            size_kept = GatherND <batch_dims = 1> (size, kept_position)
            source_wide = Cast <to = 7> (source)
            source_position = Unsqueeze (source_wide, last)
            x_source = GatherND <batch_dims = 1> (x, source_position)
            size_source = GatherND <batch_dims = 1> (size, source_position)
            x_destination = Gather <axis = 1> (x, destination_index)
            size_destination = Gather <axis = 1> (size, destination_index)

            target_row = Unsqueeze (target, one)
            is_target = Equal (target_row, destination_column)
            chosen = Cast <to = 1> (is_target)
            size_row = Transpose <perm = [0, 2, 1]> (size_source)
            weight = Mul (chosen, size_row)
            size_added = ReduceSum <keepdims = 1> (weight, last)
            total = Add (size_destination, size_added)
            source_share = Div (weight, total)
            own_share = Div (size_destination, total)
            x_added = MatMul (source_share, x_source)
            x_own = Mul (x_destination, own_share)
            mean = Add (x_own, x_added)
            merged = Concat <axis = 1> (x_prefix, x_kept, mean)
            merged_size = Concat <axis = 1> (size_prefix, size_kept, total)
        }}""")


def tensorrt_function() -> onnx.FunctionProto:
    """The op for a compiler of kernels, with a sixth input, ``into`` of `edgeexport.ops.token_match.tensorrt_function`.

    It merges by that instead of ``source`` and ``target``. The sums are written out over all tokens, in one kernel without a
    product.
    """
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <prefix, destinations> (x, size, source, target, kept, into) => (merged, merged_size) {{
            destination_index = Constant <value_ints: ints = @destinations> ()
            prefix_scalar = Constant <value_int: int = @prefix> ()
            zero = Constant <value_ints = [0]> ()
            one = Constant <value_ints = [1]> ()
            two = Constant <value_ints = [2]> ()
            three = Constant <value_ints = [3]> ()
            last = Constant <value_ints = [-1]> ()
            column = Constant <value_ints = [1, -1, 1]> ()
            prefix_end = Reshape (prefix_scalar, one)
            destination_float = Cast <to = 1> (destination_index)
            destination_column = Reshape (destination_float, column)

            x_prefix = Slice (x, zero, prefix_end, one)
            size_prefix = Slice (size, zero, prefix_end, one)
            kept_wide = Cast <to = 7> (kept)
            kept_position = Unsqueeze (kept_wide, last)
            x_kept = GatherND <batch_dims = 1> (x, kept_position)
            size_kept = GatherND <batch_dims = 1> (size, kept_position)

            into_row = Unsqueeze (into, one)
            is_part = Equal (into_row, destination_column)
            size_row = Transpose <perm = [0, 2, 1]> (size)
            nothing = Constant <value_float = 0.0> ()
            weight = Where (is_part, size_row, nothing)
            total = ReduceSum <keepdims = 1> (weight, two)
            share = Div (weight, total)
            share_wide = Unsqueeze (share, three)
            x_wide = Unsqueeze (x, one)
            parts = Mul (share_wide, x_wide)
            mean = ReduceSum <keepdims = 0> (parts, two)
            merged = Concat <axis = 1> (x_prefix, x_kept, mean)
            merged_size = Concat <axis = 1> (size_prefix, size_kept, total)
        }}""")


def position_map(source: Tensor, target: Tensor, kept: Tensor, tables: MatchTables) -> Tensor:
    """The output row of every input token, so that ``token_unmerge(merged, position)`` copies rows back.

    Plain tensor operations, which export as such; the scatter writes every position once.

    Args:
        source, target, kept: As `token_match` returns them.
        tables: Of this block.

    Returns:
        int32 (B, N), each in [0, M).
    """
    batch, device = source.shape[0], source.device
    row_of_destination = [0] * tables.tokens
    for row, destination in enumerate(tables.destination_tokens, start=tables.prefix + tables.K):
        row_of_destination[destination] = row
    merged_into = torch.tensor(row_of_destination, dtype=torch.int32, device=device)[target.long()]
    rows = torch.arange(tables.tokens_out, dtype=torch.int32, device=device).expand(batch, -1)
    untouched, destinations = (
        torch.tensor(tokens, dtype=torch.int64, device=device).expand(batch, -1)
        for tokens in (range(tables.prefix), tables.destination_tokens)
    )
    groups = [untouched, kept.long(), destinations, source.long()]
    token = torch.cat([part for part in groups if part.shape[1]], dim=1)
    rows = torch.cat([rows, merged_into], dim=1)
    return torch.zeros_like(rows).scatter(1, token, rows)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    return torch.gather(values, 1, index.long()[:, :, None].expand(-1, -1, values.shape[2]))
