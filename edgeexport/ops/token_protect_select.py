"""TokenProtectSelect: a whole stage of DToP as one op: confidence, protection, choice, and the rows of both parts.

Never exported: the pass for plugins puts it in place of the nodes that it stands for (`edgeexport.graph.plugin_steps`), since a
chain of tiny kernels costs more to launch than to run. It is defined by the ops of that chain, in torch and in ONNX.
"""

from __future__ import annotations

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.token_partition import token_partition_reference
from edgeexport.ops.token_protect import token_protect_reference
from edgeexport.ops.token_unmerge import token_unmerge_reference

__all__ = ["ATTRIBUTES", "LARGEST_TOKENS", "NAME", "onnx_function", "token_protect_select_reference"]

NAME = "TokenProtectSelect"
ATTRIBUTES = {"k": "int", "per_class": "int"}
LARGEST_TOKENS = 2048
"""Tokens of an image that the plugin takes (kSelectMaxTokens of its sources)."""


def token_protect_select_reference(
    scores: Tensor, x: Tensor, rows: Tensor, alive: Tensor, k: int, per_class: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The definition.

    Args:
        scores: floating (B, K, n), of every class; compared as float32.
        x: floating (B, n, C), the tokens.
        rows: floating (B, n, R), what a token leaves behind.
        alive: int32 (B, n, 1), which tokens of block 1 they are.
        k: Tokens that leave, 0 < k < n.
        per_class: Tokens of each predicted class that leave last, the most confident ones; at least 1.

    Returns:
        ``x_kept`` (B, n - k, C), ``rows_left`` (B, k, R), ``alive_kept`` int32 (B, n - k, 1) and ``alive_left`` int32
        (B, k, 1), in the order of the tokens. Ties: the lowest class, and the lowest token, is first.
    """
    confidence, label = scores.float().max(dim=1)
    protected = token_protect_reference(
        confidence, label.to(torch.int32), scores.shape[1], min(per_class, scores.shape[2])
    )
    kept, left = token_partition_reference(confidence - 2.0 * protected.float(), k)
    x_kept, alive_kept = (token_unmerge_reference(values, kept) for values in (x, alive))
    rows_left, alive_left = (token_unmerge_reference(values, left) for values in (rows, alive))
    return x_kept, rows_left, alive_kept, alive_left


def onnx_function(classes: int) -> onnx.FunctionProto:
    """The op by the functions of TokenProtect, TokenPartition and TokenUnmerge, which a model has to carry beside it.

    Args:
        classes: K.
    """
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}, "{DOMAIN}": {DOMAIN_VERSION}]>
        {NAME} <k, per_class> (scores, x, rows, alive) => (x_kept, rows_left, alive_kept, alive_left) {{
            class_axis = Constant <value_ints = [1]> ()
            confidence = ReduceMax <keepdims = 0> (scores, class_axis)
            best_class = ArgMax <axis = 1, keepdims = 0> (scores)
            label = Cast <to = 6> (best_class)
            protected = {DOMAIN}.TokenProtect <num_classes = {classes}, per_class: int = @per_class> (confidence, label)
            marked = Cast <to = 1> (protected)
            two = Constant <value_float = 2.0> ()
            lowered = Mul (marked, two)
            priority = Sub (confidence, lowered)
            kept, left = {DOMAIN}.TokenPartition <k: int = @k> (priority)
            x_kept = {DOMAIN}.TokenUnmerge (x, kept)
            rows_left = {DOMAIN}.TokenUnmerge (rows, left)
            alive_kept = {DOMAIN}.TokenUnmerge (alive, kept)
            alive_left = {DOMAIN}.TokenUnmerge (alive, left)
        }}""")
