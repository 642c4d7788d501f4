"""Layouts and metrics for the tests of token matching and merging."""

from __future__ import annotations

import onnx
import torch
from hypothesis import strategies as st
from torch import Tensor

from edgeexport.ops.match_tables import MatchLayout, MatchTables, largest_r

__all__ = ["SIX_LAYOUTS", "attributes_of", "exact_metrics", "layouts", "match_attributes", "merge_attributes"]

SIX_LAYOUTS = (
    MatchLayout("alternate", 22, 1, 5),
    MatchLayout("alternate", 21, 2, 9),  # every source merges
    MatchLayout("alternate", 16, 0, 8),  # every source merges, and no prefix token is left either
    MatchLayout("windows", 1 + 45, 1, 13, columns=7, window=3),  # partial rows, windows of different sizes
    MatchLayout("windows", 12, 0, 5, columns=5, window=4),  # a window without destinations
    MatchLayout("cells", 24, 0, 11, columns=6),
)

_ROWS = (
    [(a, b, c, d) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1) for d in (-1, 1)]
    + [tuple(int(i == axis) for i in range(4)) for axis in range(4)]
    + [(0, 0, 0, 0)]
)


@st.composite
def layouts(draw: st.DrawFn) -> MatchLayout:
    """Of every kind, with r up to its limit, which half of them reach."""
    kind = draw(st.sampled_from(["alternate", "windows", "cells"]))
    prefix = draw(st.sampled_from([0, 1, 2, 5]))
    columns = window = 0
    if kind == "alternate":
        patches = draw(st.integers(2, 30))
    elif kind == "windows":
        columns, window = draw(st.integers(1, 7)), draw(st.integers(2, 5))
        patches = draw(st.integers(2, 40))
    else:
        columns = 2 * draw(st.integers(1, 4))
        patches = 2 * columns * draw(st.integers(1, 3))
    tokens = prefix + patches
    largest = largest_r(kind, tokens, prefix, columns, window)
    if largest == 0:  # every window holds one token
        kind, columns, window, largest = "alternate", 0, 0, patches // 2
    r = draw(st.just(largest) | st.integers(1, largest))
    return MatchLayout(kind, tokens, prefix, r, columns, window)


@st.composite
def exact_metrics(draw: st.DrawFn, batch: int, tokens: int) -> Tensor:
    """float32 (batch, tokens, 4) whose cosines are multiples of 1/4, computed without rounding in whichever order.

    Rows have norm 2, 1 or 0, times a power of two of their own; ties abound, and in some draws all rows are equal.
    """
    known = draw(st.lists(st.sampled_from(_ROWS), min_size=1, max_size=8))
    row = st.tuples(st.sampled_from(known), st.sampled_from([0.5, 1.0, 4.0]))
    drawn = draw(st.lists(row, min_size=batch * tokens, max_size=batch * tokens))
    values = [[scale * element for element in base] for base, scale in drawn]
    return torch.tensor(values, dtype=torch.float32).reshape(batch, tokens, 4)


def match_attributes(tables: MatchTables) -> dict[str, int | list[int]]:
    """As the exporter writes them; see `token_match` for ``left`` of a block where no source stays."""
    return {
        "sources": list(tables.sources),
        "destinations": list(tables.destinations),
        "taken": list(tables.taken),
        "left": list(tables.left) or [0],
        "windows": tables.windows,
        "ascending": int(tables.ascending),
    }


def merge_attributes(tables: MatchTables) -> dict[str, int | list[int]]:
    return {"prefix": tables.prefix, "destinations": list(tables.destination_tokens)}


def attributes_of(node: onnx.NodeProto) -> dict[str, int | list[int]]:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
