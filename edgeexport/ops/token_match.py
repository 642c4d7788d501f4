"""TokenMatch: which tokens merge, into which, and which stay (the bipartite matching of ToMe and its relatives).

Every source looks for the destination of its window with the highest cosine similarity; per window the sources with the
best such match merge. Which tokens are sources and destinations, the windows, and how many merge in each are tables fixed
at build time (`edgeexport.ops.match_tables`), so that shapes never depend on data.

Rows of (nearly) zero norm have similarity 0 to everything: norms are bounded below by `EPSILON`. Ties: a source takes the
lowest destination position among equals, a window merges the lowest source positions among equals.

Source: ToMe, section 3 ("Token Merging: Your ViT But Faster").
"""

from __future__ import annotations

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.match_tables import MatchTables

__all__ = ["ATTRIBUTES", "EPSILON", "NAME", "best_and_gap", "onnx_function", "token_match", "token_match_reference"]

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

            squared = Mul (metric, metric)
            squared_norm = ReduceSum <keepdims = 1> (squared, last)
            true_norm = Sqrt (squared_norm)
            epsilon = Constant <value_float = {EPSILON}> ()
            norm = Max (true_norm, epsilon)
            unit = Div (metric, norm)
            source_unit = Gather <axis = 1> (unit, source_index)
            destination_unit = Gather <axis = 1> (unit, destination_index)
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
