"""TokenMatchMerge: matching and merging as one op, from metric, tokens and sizes to merged tokens, sizes and the decisions.

It takes what tokens are compared by as attention has it, by head, and gives out what proportional attention adds to the
next logits, so that neither the mean over heads nor a logarithm is a kernel of its own.

Never exported: the pass for plugins puts it in place of a TokenMatch and the TokenMerge that carries its choice out
(`edgeexport.graph.plugin_steps`). It is defined by those two, in torch and in ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET, token_match
from edgeexport.ops.match_tables import MatchTables
from edgeexport.ops.token_match import token_match_reference
from edgeexport.ops.token_merge import token_merge_reference

__all__ = [
    "ATTRIBUTES",
    "LARGEST_HEADS",
    "LARGEST_SOURCES",
    "LARGEST_TOKENS",
    "NAME",
    "onnx_function",
    "token_match_merge_reference",
]

NAME = "TokenMatchMerge"
ATTRIBUTES = {**token_match.ATTRIBUTES, "prefix": "int"}
LARGEST_SOURCES = 4096
"""Entries of the table of sources that the plugin takes (kMatchMergeMaxSources of its sources)."""
LARGEST_TOKENS = 65535
"""Tokens of an image that the plugin takes (kMatchMergeMaxTokens)."""
LARGEST_HEADS = 1024
"""Heads that the plugin takes (kMatchMaxHeads)."""


def token_match_merge_reference(
    metric: Tensor, x: Tensor, size: Tensor, tables: MatchTables
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The definition.

    Args:
        metric: floating (B, N, D) or, of H heads, (B, H, N, D), of whose mean, taken in float32, similarity is measured.
        x: float32 (B, N, C), the tokens.
        size: float32 (B, N, 1), positive.
        tables: Of this block; some source stays.

    Returns:
        ``merged`` float32 (B, M, C) and ``merged_size`` float32 (B, M, 1) as of `token_merge`; ``log_size`` (B, 1, 1, M), in
        the metric's dtype, the natural logarithm of the latter; ``source`` (B, R), ``target`` (B, R) and ``kept`` (B, K),
        int32, as of `token_match`.
    """
    decision = token_match_reference(metric.float().mean(dim=1) if metric.ndim == 4 else metric.float(), tables)
    merged, merged_size = token_merge_reference(x, size, *decision, tables)
    return (merged, merged_size, merged_size.log().to(metric.dtype).transpose(1, 2)[:, None], *decision)


def onnx_function(destinations: Sequence[int], *, heads: bool = False) -> onnx.FunctionProto:
    """The op by the functions of TokenMatch and TokenMerge, which a model has to carry beside it.

    Args:
        destinations: The attribute of that name without what pads windows, as TokenMerge wants it.
        heads: Whether the metric is of heads.
    """
    compared = "ReduceMean <keepdims = 0> (metric_float, one)" if heads else "Identity (metric_float)"
    into = ", ".join(map(str, destinations))
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}, "{DOMAIN}": {DOMAIN_VERSION}]>
        {NAME} <sources, destinations, taken, left, windows, ascending, prefix>
        (metric, x, size) => (merged, merged_size, log_size, source, target, kept) {{
            one = Constant <value_ints = [1]> ()
            metric_float = Cast <to = 1> (metric)
            compared = {compared}
            source, target, kept = {DOMAIN}.TokenMatch <
                sources: ints = @sources, destinations: ints = @destinations, taken: ints = @taken, left: ints = @left,
                windows: int = @windows, ascending: int = @ascending> (compared)
            merged, merged_size = {DOMAIN}.TokenMerge <prefix: int = @prefix, destinations = [{into}]>
                (x, size, source, target, kept)
            logarithm = Log (merged_size)
            rounded = CastLike (logarithm, metric)
            row = Transpose <perm = [0, 2, 1]> (rounded)
            log_size = Unsqueeze (row, one)
        }}""")
