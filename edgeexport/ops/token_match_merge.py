"""TokenMatchMerge: matching and merging as one op, from metric, tokens and sizes to merged tokens, sizes and the decisions.

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

__all__ = ["ATTRIBUTES", "LARGEST_SOURCES", "LARGEST_TOKENS", "NAME", "onnx_function", "token_match_merge_reference"]

NAME = "TokenMatchMerge"
ATTRIBUTES = {**token_match.ATTRIBUTES, "prefix": "int"}
LARGEST_SOURCES = 4096
"""Entries of the table of sources that the plugin takes (kMatchMergeMaxSources of its sources)."""
LARGEST_TOKENS = 65535
"""Tokens of an image that the plugin takes (kMatchMergeMaxTokens)."""


def token_match_merge_reference(
    metric: Tensor, x: Tensor, size: Tensor, tables: MatchTables
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The definition.

    Args:
        metric: float32 (B, N, D), what similarity is measured on.
        x: float32 (B, N, C), the tokens.
        size: float32 (B, N, 1), positive.
        tables: Of this block; some source stays.

    Returns:
        ``merged`` float32 (B, M, C) and ``merged_size`` float32 (B, M, 1) as of `token_merge`; ``source`` (B, R), ``target``
        (B, R) and ``kept`` (B, K), int32, as of `token_match`.
    """
    decision = token_match_reference(metric, tables)
    return (*token_merge_reference(x, size, *decision, tables), *decision)


def onnx_function(destinations: Sequence[int]) -> onnx.FunctionProto:
    """The op by the functions of TokenMatch and TokenMerge, which a model has to carry beside it.

    Args:
        destinations: The attribute of that name without what pads windows, as TokenMerge wants it.
    """
    into = ", ".join(map(str, destinations))
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}, "{DOMAIN}": {DOMAIN_VERSION}]>
        {NAME} <sources, destinations, taken, left, windows, ascending, prefix>
        (metric, x, size) => (merged, merged_size, source, target, kept) {{
            source, target, kept = {DOMAIN}.TokenMatch <
                sources: ints = @sources, destinations: ints = @destinations, taken: ints = @taken, left: ints = @left,
                windows: int = @windows, ascending: int = @ascending> (metric)
            merged, merged_size = {DOMAIN}.TokenMerge <prefix: int = @prefix, destinations = [{into}]>
                (x, size, source, target, kept)
        }}""")
