"""TokenProtect: mark the most confident tokens of every predicted class, which DToP never prunes first.

Kept apart from TokenPartition because the order among equal confidences must not depend on who sorts: torch.topk leaves
it undefined, and a stable sort does not export. Ties: the lowest index is protected first.
Source: DToP, section 3.3 (context tokens of each class stay).
"""

from __future__ import annotations

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.ranks import AHEAD

__all__ = ["ATTRIBUTES", "NAME", "onnx_function", "tensorrt_function", "token_protect", "token_protect_reference"]

NAME = "TokenProtect"
ATTRIBUTES = {"num_classes": "int", "per_class": "int"}


def token_protect(confidence: Tensor, label: Tensor, num_classes: int, per_class: int) -> Tensor:
    """Marks the ``per_class`` most confident tokens of each class; an opaque ONNX node while exporting.

    Args:
        confidence: float32 (B, N), each in [0, 1].
        label: int32 (B, N), each in [0, num_classes).
        num_classes: Number of classes K.
        per_class: Tokens to protect per class, 1 <= per_class <= N. A class with fewer tokens protects them all.

    Returns:
        bool (B, N), True where protected.
    """
    if not torch.onnx.is_in_onnx_export():
        return token_protect_reference(confidence, label, num_classes, per_class)
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{NAME}",
        (confidence, label),
        {"num_classes": num_classes, "per_class": per_class},
        dtype=torch.bool,
        shape=tuple(confidence.shape),
        version=DOMAIN_VERSION,
    )


def token_protect_reference(confidence: Tensor, label: Tensor, num_classes: int, per_class: int) -> Tensor:
    """The definition: per class, a stable descending sort of its tokens, cut after ``per_class``."""
    member = label[:, None, :] == torch.arange(num_classes, dtype=label.dtype)[None, :, None]
    masked = torch.where(member, confidence[:, None, :], torch.tensor(-1.0, dtype=confidence.dtype))
    order = torch.sort(masked, dim=2, descending=True, stable=True).indices[:, :, :per_class]
    chosen = torch.zeros_like(member).scatter(2, order, True)
    return (chosen & member).any(dim=1)


def onnx_function() -> onnx.FunctionProto:
    """The op in standard operators.

    A class with fewer than ``per_class`` tokens leaves entries of value -1; each of these scatters into a slot of its
    own behind the N tokens, so that no two indices collide and no reduction is needed.
    """
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <num_classes, per_class> (confidence, label) => (protected) {{
            classes_int = Constant <value_int: int = @num_classes> ()
            per_class_int = Constant <value_int: int = @per_class> ()
            one_vector = Constant <value_ints = [1]> ()
            zero_vector = Constant <value_ints = [0]> ()
            class_column = Constant <value_ints = [1, -1, 1]> ()
            flat = Constant <value_ints = [0, -1]> ()
            start = Constant <value_int = 0> ()
            step = Constant <value_int = 1> ()
            per_class_vector = Reshape (per_class_int, one_vector)
            class_range = Range (start, classes_int, step)
            class_range_int = Cast <to = 6> (class_range)
            class_id = Reshape (class_range_int, class_column)
            label_row = Unsqueeze (label, one_vector)
            member = Equal (label_row, class_id)
            confidence_row = Unsqueeze (confidence, one_vector)
            absent = Constant <value_float = -1.0> ()
            masked = Where (member, confidence_row, absent)
            best, best_index = TopK <axis = 2, largest = 1, sorted = 1> (masked, per_class_vector)
            best_flat = Reshape (best, flat)
            index_flat = Reshape (best_index, flat)
            half = Constant <value_float = -0.5> ()
            valid = Greater (best_flat, half)
            count = Shape <start = 1, end = 2> (confidence)
            slots = Mul (classes_int, per_class_int)
            slot_range = Range (start, slots, step)
            spare = Add (slot_range, count)
            target = Where (valid, index_flat, spare)
            batch = Shape <start = 0, end = 1> (confidence)
            width = Add (count, slots)
            wide_shape = Concat <axis = 0> (batch, width)
            target_shape = Shape (target)
            zeros = ConstantOfShape <value = float[1] {{0}}> (wide_shape)
            ones = ConstantOfShape <value = float[1] {{1}}> (target_shape)
            marked = ScatterElements <axis = 1> (zeros, target, ones)
            marked_tokens = Slice (marked, zero_vector, count, one_vector)
            protected = Cast <to = 9> (marked_tokens)
        }}""")


def tensorrt_function() -> onnx.FunctionProto:
    """The op for a compiler of kernels: a token is protected where fewer than ``per_class`` of its class are ahead of it.

    Comparing every token with every other is one kernel; sorting and scattering are a chain of them.
    """
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <num_classes, per_class> (confidence, label) => (protected) {{
            {AHEAD.format(score="confidence")}
            label_row = Unsqueeze (label, row_axis)
            label_column = Unsqueeze (label, column_axis)
            same_class = Equal (label_row, label_column)
            ahead_in_class = And (ahead, same_class)
            ahead_count = Cast <to = 1> (ahead_in_class)
            rank = ReduceSum <keepdims = 0> (ahead_count, column_axis)
            per_class_int = Constant <value_int: int = @per_class> ()
            per_class_float = Cast <to = 1> (per_class_int)
            protected = Less (rank, per_class_float)
        }}""")
