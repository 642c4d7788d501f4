"""TokenUnmerge: per-image gather of token rows, the one way in which tokens are picked, restored and shared out.

CTS gathers patches into tokens and hands a shared token's result back to its four patches; DToP gathers survivors and
restores its canvas. All of these are one gather through an index map, so one op (and one plugin) does them.
"""

from __future__ import annotations

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET

__all__ = ["ATTRIBUTES", "NAME", "onnx_function", "token_unmerge", "token_unmerge_reference"]

NAME = "TokenUnmerge"
ATTRIBUTES: dict[str, str] = {}


def token_unmerge(tokens: Tensor, index: Tensor) -> Tensor:
    """Gathers rows per image; an opaque ONNX node while exporting, the torch reference otherwise.

    Args:
        tokens: (B, n, C), any dtype.
        index: int32 (B, m), each in [0, n).

    Returns:
        (B, m, C) with ``out[b, i] = tokens[b, index[b, i]]``.
    """
    if not torch.onnx.is_in_onnx_export():
        return token_unmerge_reference(tokens, index)
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{NAME}",
        (tokens, index),
        dtype=tokens.dtype,
        shape=(tokens.shape[0], index.shape[1], tokens.shape[2]),
        version=DOMAIN_VERSION,
    )


def token_unmerge_reference(tokens: Tensor, index: Tensor) -> Tensor:
    """The definition (see `token_unmerge`)."""
    return torch.gather(tokens, 1, index.long()[:, :, None].expand(-1, -1, tokens.shape[2]))


def onnx_function() -> onnx.FunctionProto:
    """The op in standard operators: GatherND with one batch dimension copies whole rows."""
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} (tokens, index) => (rows) {{
            last = Constant <value_ints = [-1]> ()
            index_wide = Cast <to = 7> (index)
            position = Unsqueeze (index_wide, last)
            rows = GatherND <batch_dims = 1> (tokens, position)
        }}""")
