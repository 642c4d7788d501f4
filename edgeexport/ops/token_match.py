"""TokenMatch: which tokens merge, into which, and which stay (the bipartite matching of ToMe and its relatives).

Every source looks for the destination of its window with the highest cosine similarity; per window the sources with the
best such match merge. Which tokens are sources and destinations, the windows, and how many merge in each are tables fixed
at build time (`edgeexport.ops.match_tables`), so that shapes never depend on data.

Rows of (nearly) zero norm have similarity 0 to everything: norms are bounded below by `EPSILON`. Ties: a source takes the
lowest destination position among equals, a window merges the lowest source positions among equals.

Source: ToMe, section 3 ("Token Merging: Your ViT But Faster").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.match_tables import MatchTables

__all__ = [
    "ATTRIBUTES",
    "EPSILON",
    "NAME",
    "best_and_gap",
    "onnx_function",
    "tensorrt_attributes",
    "tensorrt_function",
    "token_match",
    "token_match_reference",
]

NAME = "TokenMatch"
ATTRIBUTES = {
    "sources": "ints",
    "destinations": "ints",
    "taken": "ints",
    "left": "ints",
    "windows": "int",
    "ascending": "int",
}
EPSILON = 1e-12
"""Lower bound of norms."""

_ABSENT = -1e30


def token_match(metric: Tensor, tables: MatchTables) -> tuple[Tensor, Tensor, Tensor]:
    """Chooses the merges of every image; an opaque ONNX node while exporting, the torch reference otherwise.

    Args:
        metric: float32 (B, N, D), what similarity is measured on.
        tables: Of this block; N is ``tables.tokens``.

    Returns:
        int32 token indices: ``source`` (B, R), the tokens that merge, in falling order of score window by window;
        ``target`` (B, R), what each merges into; ``kept`` (B, K), the sources that stay, ascending if
        ``tables.ascending``, else in falling order of score; with K = 0 a constant of no elements.
    """
    if not torch.onnx.is_in_onnx_export():
        return token_match_reference(metric, tables)
    batch = metric.shape[0]
    # No runtime likes tensors of no elements, nor the exporter empty lists: where no source stays, the node is asked for
    # one that nobody reads.
    left = tables.left or (0,)
    source, target, kept = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{NAME}",
        (metric,),
        {
            "sources": list(tables.sources),
            "destinations": list(tables.destinations),
            "taken": list(tables.taken),
            "left": list(left),
            "windows": tables.windows,
            "ascending": int(tables.ascending),
        },
        dtypes=(torch.int32, torch.int32, torch.int32),
        shapes=((batch, tables.R), (batch, tables.R), (batch, len(left))),
        version=DOMAIN_VERSION,
    )
    if not tables.K:
        kept = torch.zeros((batch, 0), dtype=torch.int32, device=metric.device)
    return source, target, kept


def token_match_reference(metric: Tensor, tables: MatchTables) -> tuple[Tensor, Tensor, Tensor]:
    """The definition (see `token_match`)."""
    sources, destinations = _table(tables.sources, metric), _table(tables.destinations, metric)
    similarity = _similarity(metric, tables)
    best, partner = similarity.max(dim=3)  # the first of equals
    best = best.masked_fill(sources.view(tables.windows, -1) < 0, -torch.inf)
    order = torch.sort(best, dim=2, descending=True, stable=True).indices
    window = torch.arange(tables.windows, device=metric.device)[:, None]
    order = (order + window * best.shape[2]).flatten(1)
    partner = (partner + window * similarity.shape[3]).flatten(1)
    taken, left = (order[:, _table(positions, metric)] for positions in (tables.taken, tables.left))
    kept = sources[left]
    if tables.ascending:
        kept = kept.sort(dim=1).values
    target = destinations[partner.gather(1, taken)]
    return sources[taken].to(torch.int32), target.to(torch.int32), kept.to(torch.int32)


_UNIT = f"""
            squared = Mul (metric, metric)
            squared_norm = ReduceSum <keepdims = 1> (squared, last)
            true_norm = Sqrt (squared_norm)
            epsilon = Constant <value_float = {EPSILON}> ()
            norm = Max (true_norm, epsilon)
            unit = Div (metric, norm)
            source_unit = Gather <axis = 1> (unit, source_index)
            destination_unit = Gather <axis = 1> (unit, destination_index)
"""
"""Metrics of unit length, by source and by destination: part of both bodies."""


def onnx_function() -> onnx.FunctionProto:
    """The op in standard operators, for every layout: the tables come from the node's attributes.

    Padding is dealt with by adding `_ABSENT` to the similarity of what does not exist. All positions are in lists over all
    windows: window w's j-th entry is at w * na + j. The last TopK sorts what stays by a key that is the token index where
    ``ascending``, else the rank that it has already, so that these keys never tie. Elsewhere TopK's tie rule (lowest index
    first) is the ONNX standard's.
    """
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <sources, destinations, taken, left, windows, ascending> (metric) => (source, target, kept) {{
            sources_list = Constant <value_ints: ints = @sources> ()
            destinations_list = Constant <value_ints: ints = @destinations> ()
            taken_positions = Constant <value_ints: ints = @taken> ()
            left_positions = Constant <value_ints: ints = @left> ()
            windows_scalar = Constant <value_int: int = @windows> ()
            ascending_scalar = Constant <value_int: int = @ascending> ()
            zero = Constant <value_int = 0> ()
            one = Constant <value_int = 1> ()
            one_vector = Constant <value_ints = [1]> ()
            last = Constant <value_ints = [-1]> ()
            last_two = Constant <value_ints = [-2, -1]> ()
            by_image = Constant <value_ints = [0, -1]> ()
            absent = Constant <value_float = {_ABSENT}> ()
            present = Constant <value_float = 0.0> ()

            windows_vector = Reshape (windows_scalar, one_vector)
            by_window = Concat <axis = 0> (windows_vector, last)
            source_table = Reshape (sources_list, by_window)
            destination_table = Reshape (destinations_list, by_window)
            na = Shape <start = 1, end = 2> (source_table)
            nb = Shape <start = 1, end = 2> (destination_table)
            no_source = Less (source_table, zero)
            no_destination = Less (destination_table, zero)
            source_padding = Where (no_source, absent, present)
            destination_padding = Where (no_destination, absent, present)
            source_bias = Unsqueeze (source_padding, last)
            destination_bias = Unsqueeze (destination_padding, one_vector)
            source_index = Max (source_table, zero)
            destination_index = Max (destination_table, zero)
            window_range = Range (zero, windows_scalar, one)
            window = Unsqueeze (window_range, last_two)
            first_source = Mul (window, na)
            first_destination = Mul (window, nb)

            {_UNIT}
            destination_columns = Transpose <perm = [0, 1, 3, 2]> (destination_unit)
            cosine = MatMul (source_unit, destination_columns)
            similarity = Add (cosine, destination_bias)
            best, partner_in_window = TopK <axis = 3, largest = 1, sorted = 1> (similarity, one_vector)
            score = Add (best, source_bias)
            _score, order_in_window = TopK <axis = 2, largest = 1, sorted = 1> (score, na)
            order_by_window = Add (order_in_window, first_source)
            order = Reshape (order_by_window, by_image)
            partner_by_window = Add (partner_in_window, first_destination)
            partner = Reshape (partner_by_window, by_image)

            source_tokens = Cast <to = 6> (sources_list)
            destination_tokens = Cast <to = 6> (destinations_list)
            source_position = Gather <axis = 1> (order, taken_positions)
            source = Gather (source_tokens, source_position)
            target_position = GatherElements <axis = 1> (partner, source_position)
            target = Gather (destination_tokens, target_position)

            kept_position = Gather <axis = 1> (order, left_positions)
            kept_by_score = Gather (source_tokens, kept_position)
            kept_float = Cast <to = 1> (kept_by_score)
            by_index = Cast <to = 1> (ascending_scalar)
            index_key = Mul (kept_float, by_index)
            k = Shape (left_positions)
            k_scalar = Squeeze (k)
            rank = Range (zero, k_scalar, one)
            by_score = Sub (one, ascending_scalar)
            rank_or_zero = Mul (rank, by_score)
            rank_key = Cast <to = 1> (rank_or_zero)
            key = Add (index_key, rank_key)
            _key, kept_order = TopK <axis = 1, largest = 0, sorted = 1> (key, k)
            kept = GatherElements <axis = 1> (kept_by_score, kept_order)
        }}""")


def tensorrt_attributes(attributes: Mapping[str, Any], tokens: int) -> dict[str, list[int]]:
    """What `tensorrt_function` needs beside the node's own attributes.

    Returns:
        ``shares``: of every window, how many sources merge. Of every token, ``lookup``: the place of a source in the list of
        sources, else 0; ``own``: its index for a destination, else -1; ``is_source``: 1 for a source, else 0.
    """
    sources, windows = attributes["sources"], attributes["windows"]
    na = len(sources) // windows
    place = {token: index for index, token in enumerate(sources) if token >= 0}
    receiving = set(attributes["destinations"])
    return {
        "shares": [sum(position // na == window for position in attributes["taken"]) for window in range(windows)],
        "lookup": [place.get(token, 0) for token in range(tokens)],
        "own": [token if token in receiving else -1 for token in range(tokens)],
        "is_source": [int(token in place) for token in range(tokens)],
    }


def tensorrt_function() -> onnx.FunctionProto:
    """The op for a compiler of kernels, with a fourth output ``into``, float32 (B, N): the token that every token is part of
    afterwards, itself for a destination, -1 for what stays as it is. `edgeexport.ops.token_merge.tensorrt_function` merges by
    it, so that lists of what merges are computed for those who ask alone.

    Similarities, best partners and ranks are written out as comparisons and sums over pairs, which become a few kernels without
    a product or a sort. That is more work than products where there are many pairs: see `edgeexport.graph.told_targets`.
    """
    attributes = ", ".join([*ATTRIBUTES, "shares", "lookup", "own", "is_source"])
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <{attributes}> (metric) => (source, target, kept, into) {{
            sources_list = Constant <value_ints: ints = @sources> ()
            destinations_list = Constant <value_ints: ints = @destinations> ()
            taken_positions = Constant <value_ints: ints = @taken> ()
            left_positions = Constant <value_ints: ints = @left> ()
            windows_scalar = Constant <value_int: int = @windows> ()
            ascending_scalar = Constant <value_int: int = @ascending> ()
            shares = Constant <value_ints: ints = @shares> ()
            lookup = Constant <value_ints: ints = @lookup> ()
            own = Constant <value_ints: ints = @own> ()
            is_source = Constant <value_ints: ints = @is_source> ()
            zero = Constant <value_int = 0> ()
            one = Constant <value_int = 1> ()
            axis_one = Constant <value_ints = [1]> ()
            axis_two = Constant <value_ints = [2]> ()
            axis_three = Constant <value_ints = [3]> ()
            last = Constant <value_ints = [-1]> ()
            last_two = Constant <value_ints = [-2, -1]> ()
            by_image = Constant <value_ints = [0, -1]> ()
            absent = Constant <value_float = {_ABSENT}> ()
            present = Constant <value_float = 0.0> ()
            far = Constant <value_float = 1e9> ()
            nothing = Constant <value_float = -1.0> ()

            windows_vector = Reshape (windows_scalar, axis_one)
            by_window = Concat <axis = 0> (windows_vector, last)
            source_table = Reshape (sources_list, by_window)
            destination_table = Reshape (destinations_list, by_window)
            na = Shape <start = 1, end = 2> (source_table)
            na_scalar = Squeeze (na)
            no_source = Less (source_table, zero)
            no_destination = Less (destination_table, zero)
            source_padding = Where (no_source, absent, present)
            destination_padding = Where (no_destination, absent, present)
            destination_bias = Unsqueeze (destination_padding, axis_one)
            source_index = Max (source_table, zero)
            destination_index = Max (destination_table, zero)
            destination_float = Cast <to = 1> (destination_table)
            destination_token = Unsqueeze (destination_float, axis_one)

            {_UNIT}
            source_wide = Unsqueeze (source_unit, axis_three)
            destination_wide = Unsqueeze (destination_unit, axis_two)
            pair = Mul (source_wide, destination_wide)
            cosine = ReduceSum <keepdims = 0> (pair, last)
            similarity = Add (cosine, destination_bias)
            best = ReduceMax <keepdims = 1> (similarity, axis_three)
            is_best = Equal (similarity, best)
            best_token = Where (is_best, destination_token, far)
            partner = ReduceMin <keepdims = 0> (best_token, axis_three)
            best_row = Squeeze (best, axis_three)
            score = Add (best_row, source_padding)

            score_row = Unsqueeze (score, axis_two)
            score_column = Unsqueeze (score, axis_three)
            index = Range (zero, na_scalar, one)
            index_float = Cast <to = 1> (index)
            index_column = Unsqueeze (index_float, axis_one)
            larger = Greater (score_row, score_column)
            equal = Equal (score_row, score_column)
            earlier = Less (index_float, index_column)
            equal_and_earlier = And (equal, earlier)
            ahead = Or (larger, equal_and_earlier)
            ahead_count = Cast <to = 1> (ahead)
            rank = ReduceSum <keepdims = 0> (ahead_count, axis_three)
            shares_float = Cast <to = 1> (shares)
            shares_column = Unsqueeze (shares_float, axis_one)
            merges = Less (rank, shares_column)

            window_range = Range (zero, windows_scalar, one)
            window_column = Unsqueeze (window_range, axis_one)
            first_source = Mul (window_column, na)
            first_source_float = Cast <to = 1> (first_source)
            by_score = Add (rank, first_source_float)
            by_index = Cast <to = 1> (source_table)
            ascending = Cast <to = 9> (ascending_scalar)
            staying_key = Where (ascending, by_index, by_score)
            leaves = Or (merges, no_source)
            kept_key_by_window = Where (leaves, far, staying_key)
            kept_key = Reshape (kept_key_by_window, by_image)
            k = Shape (left_positions)
            _kept_key, kept_position = TopK <axis = 1, largest = 0, sorted = 1> (kept_key, k)
            source_tokens = Cast <to = 6> (sources_list)
            kept = Gather (source_tokens, kept_position)

            into_by_window = Where (merges, partner, nothing)
            into_of_source = Reshape (into_by_window, by_image)
            into_of_all = Gather <axis = 1> (into_of_source, lookup)
            own_float = Cast <to = 1> (own)
            some_source = Cast <to = 9> (is_source)
            into = Where (some_source, into_of_all, own_float)

            _rank, order_in_window = TopK <axis = 2, largest = 0, sorted = 1> (rank, na)
            order_by_window = Add (order_in_window, first_source)
            order = Reshape (order_by_window, by_image)
            source_position = Gather <axis = 1> (order, taken_positions)
            source = Gather (source_tokens, source_position)
            partner_list = Reshape (partner, by_image)
            target_float = GatherElements <axis = 1> (partner_list, source_position)
            target = Cast <to = 6> (target_float)
        }}""")


def best_and_gap(metric: Tensor, tables: MatchTables) -> tuple[Tensor, Tensor]:
    """How clear the decisions of `token_match` are, per token.

    Args:
        metric: float32 (B, N, D).
        tables: Of this block.

    Returns:
        ``best`` float32 (B, N): a source's best similarity, less that of the last source that merges in its window, so
        that the cut is at 0 everywhere; -1 in windows where nothing merges. ``gap`` float32 (B, N): a source's best
        similarity less its second best, infinite where there is no second. Both are NaN for tokens that are no source.
    """
    similarity = _similarity(metric, tables)
    batch, windows, na, nb = similarity.shape
    ranked = similarity.topk(min(2, nb), dim=3).values
    score = ranked[..., 0]
    gap = score - ranked[..., 1] if nb > 1 else torch.full_like(score, torch.inf)
    gap = torch.where(torch.isnan(gap), torch.inf, gap)  # no destination at all: -inf - -inf
    exists = _table(tables.sources, metric).view(windows, na) >= 0
    sorted_score = score.masked_fill(~exists, -torch.inf).sort(dim=2, descending=True).values
    merging = _table(tables.r_per_window, metric)
    last = (merging - 1).clamp(min=0)[None, :, None].expand(batch, -1, -1)
    best = torch.where((merging > 0)[None, :, None], score - sorted_score.gather(2, last), -1.0)
    tokens = _table(tables.sources, metric)[exists.flatten()]
    result = []
    for values in (best, gap):
        per_token = torch.full((batch, tables.tokens), torch.nan, device=metric.device)
        per_token[:, tokens] = values.flatten(1)[:, exists.flatten()]
        result.append(per_token)
    return result[0], result[1]


def _similarity(metric: Tensor, tables: MatchTables) -> Tensor:
    """float32 (B, W, na, nb): cosine of each source with the destinations of its window, -inf where there is none.

    Rows of padded sources hold values without meaning.
    """
    metric = metric.float()
    unit = metric / metric.norm(dim=2, keepdim=True).clamp(min=EPSILON)
    sources, destinations = (
        _table(table, metric).view(tables.windows, -1) for table in (tables.sources, tables.destinations)
    )
    similarity = unit[:, sources.clamp(min=0)] @ unit[:, destinations.clamp(min=0)].transpose(2, 3)
    return similarity.masked_fill((destinations < 0)[:, None, :], -torch.inf)


def _table(values: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.int64, device=like.device)
