"""TokenPartition: split the tokens of each image into the k with the highest score and the rest, both in order.

Used for DToP (score = confidence, protected tokens lowered by 2) and for CTS (score = policy logit difference).
Ties: among equal scores the lowest index is taken first, in every execution of the op.
"""

from __future__ import annotations

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.ranks import AHEAD

__all__ = ["ATTRIBUTES", "NAME", "onnx_function", "tensorrt_function", "token_partition", "token_partition_reference"]

NAME = "TokenPartition"
ATTRIBUTES = {"k": "int"}


def token_partition(score: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Partitions tokens by score; an opaque ONNX node while exporting, the torch reference otherwise.

    Args:
        score: float32 (B, N).
        k: How many tokens to take, 0 < k <= N; with k = N, ``kept`` is empty (B, 0).

    Returns:
        ``kept`` int32 (B, N - k) and ``taken`` int32 (B, k), token indices, each ascending.
    """
    if not torch.onnx.is_in_onnx_export():
        return token_partition_reference(score, k)
    batch, tokens = score.shape
    kept, taken = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{NAME}",
        (score,),
        {"k": k},
        dtypes=(torch.int32, torch.int32),
        shapes=((batch, tokens - k), (batch, k)),
        version=DOMAIN_VERSION,
    )
    return kept, taken


def token_partition_reference(score: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The definition: a stable descending sort, cut after k, each part back in index order (see `token_partition`)."""
    order = torch.sort(score, dim=1, descending=True, stable=True).indices
    taken = torch.sort(order[:, :k], dim=1).values
    kept = torch.sort(order[:, k:], dim=1).values
    return kept.to(torch.int32), taken.to(torch.int32)


def onnx_function() -> onnx.FunctionProto:
    """The op in standard operators.

    TopK's tie rule (lowest index first) is the ONNX standard's. The second TopK sorts unique keys: the index,
    lowered by N for taken tokens, so that one pass yields both parts ascending.
    """
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <k> (score) => (kept, taken) {{
            k_scalar = Constant <value_int: int = @k> ()
            axis_one = Constant <value_ints = [1]> ()
            zero = Constant <value_ints = [0]> ()
            k_vector = Reshape (k_scalar, axis_one)
            score_shape = Shape (score)
            count = Shape <start = 1, end = 2> (score)
            count_scalar = Squeeze (count)
            _values, best = TopK <axis = 1, largest = 1, sorted = 1> (score, k_vector)
            best_shape = Shape (best)
            minus_n = Neg (count)
            minus_n_float = Cast <to = 1> (minus_n)
            lowered = Expand (minus_n_float, best_shape)
            zeros = ConstantOfShape <value = float[1] {{0}}> (score_shape)
            offset = ScatterElements <axis = 1> (zeros, best, lowered)
            start = Constant <value_int = 0> ()
            step = Constant <value_int = 1> ()
            index = Range (start, count_scalar, step)
            index_float = Cast <to = 1> (index)
            key = Add (offset, index_float)
            _sorted, order = TopK <axis = 1, largest = 0, sorted = 1> (key, count)
            order_int = Cast <to = 6> (order)
            taken = Slice (order_int, zero, k_vector, axis_one)
            kept = Slice (order_int, k_vector, count, axis_one)
        }}""")


def tensorrt_function() -> onnx.FunctionProto:
    """The op for a compiler of kernels: taken is what fewer than k tokens are ahead of; then the one TopK that sorts."""
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <k> (score) => (kept, taken) {{
            {AHEAD.format(score="score")}
            zero = Constant <value_ints = [0]> ()
            k_scalar = Constant <value_int: int = @k> ()
            k_vector = Reshape (k_scalar, row_axis)
            k_float = Cast <to = 1> (k_scalar)
            ahead_count = Cast <to = 1> (ahead)
            rank = ReduceSum <keepdims = 0> (ahead_count, column_axis)
            is_taken = Less (rank, k_float)
            count_float = Cast <to = 1> (count)
            lowered = Sub (index_float, count_float)
            key = Where (is_taken, lowered, index_float)
            _sorted, order = TopK <axis = 1, largest = 0, sorted = 1> (key, count)
            order_int = Cast <to = 6> (order)
            taken = Slice (order_int, zero, k_vector, row_axis)
            kept = Slice (order_int, k_vector, count, row_axis)
        }}""")
