"""CacheMatch: which tokens of a prompt keep a slot of a layer's cache, and which slot every other token goes to.

The slots are for the ``budget`` most important tokens of each KV head, its pivots, in order of position. Every other valid
token goes to the open pivot whose key has the highest cosine with its own; of another modality only with ``cross``.
Ties: equal importance, the lowest position; equal cosine, the lowest slot. Source: FlowMM (arXiv 2511.05534), equations 8
to 10.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch
from onnx import parser
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET

__all__ = [
    "ATTRIBUTES",
    "NAME",
    "cache_match",
    "cache_match_reference",
    "onnx_function",
    "open_slots",
    "pivots_of",
    "targets_of",
]

NAME = "CacheMatch"
ATTRIBUTES = {"budget": "int", "cross": "int", "protect": "ints", "keep_recent": "int", "absorb": "int"}


def cache_match(
    key: Tensor,
    importance: Tensor,
    modality: Tensor,
    valid: Tensor,
    *,
    budget: int,
    cross: bool,
    protect: Sequence[int],
    keep_recent: int = 0,
    absorb: bool = True,
) -> tuple[Tensor, Tensor]:
    """Chooses pivots and matches the others; an opaque ONNX node while exporting, the torch reference otherwise.

    Args:
        key: float32 (B, H, L, D), as cached, of H KV heads.
        importance: float32 (B, H, L), not negative.
        modality: int32 (B, L), 0 text, 1 visual.
        valid: int32 (B, L), 0 for padding, which is on the left.
        budget: Slots, at most L.
        cross: Whether a token may go to a pivot of another modality.
        protect: Per KV head, how many pivots absorb nothing, the most important first.
        keep_recent: So many of the last valid tokens are pivots whatever their importance; at most ``budget``.
        absorb: False: no pivot absorbs anything, what has no slot is evicted.

    Returns:
        ``pivot`` int32 (B, H, budget), positions ascending, -1 for slots that stay empty (behind the others), and ``target``
        int32 (B, H, L): the slot that a token has or goes to; -1 for padding and for what is dropped.
    """
    if not torch.onnx.is_in_onnx_export():
        return cache_match_reference(
            key, importance, modality, valid,
            budget=budget, cross=cross, protect=protect, keep_recent=keep_recent, absorb=absorb,
        )  # fmt: skip
    batch, heads, length = importance.shape
    pivot, target = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{NAME}",
        (key, importance, modality, valid),
        {
            "budget": budget,
            "cross": int(cross),
            "protect": list(protect),
            "keep_recent": keep_recent,
            "absorb": int(absorb),
        },
        dtypes=(torch.int32, torch.int32),
        shapes=((batch, heads, budget), (batch, heads, length)),
        version=DOMAIN_VERSION,
    )
    return pivot, target


def cache_match_reference(
    key: Tensor,
    importance: Tensor,
    modality: Tensor,
    valid: Tensor,
    *,
    budget: int,
    cross: bool,
    protect: Sequence[int],
    keep_recent: int = 0,
    absorb: bool = True,
) -> tuple[Tensor, Tensor]:
    """The definition (see `cache_match`)."""
    slot = pivots_of(importance, valid, budget, keep_recent)
    is_open = open_slots(importance, valid, slot, protect) & absorb
    target = targets_of(key, modality, valid, slot, is_open, torch.full(valid.shape[:1], cross))
    filled = torch.gather(valid[:, None].expand_as(importance), 2, slot) > 0
    return torch.where(filled, slot, -1).to(torch.int32), target


def pivots_of(importance: Tensor, valid: Tensor, budget: int, keep_recent: int) -> Tensor:
    """int64 (B, H, budget): the chosen positions ascending, then positions of padding where too few are valid."""
    length = importance.shape[2]
    score = importance.float()
    if keep_recent:
        score = torch.cat(
            [score[..., :-keep_recent], score[..., -keep_recent:] + torch.finfo(torch.float32).max / 2], -1
        )
    score = torch.where(valid[:, None] > 0, score, -1.0)
    best = torch.sort(score, dim=2, descending=True, stable=True).indices[..., :budget]
    padding = torch.gather(valid[:, None].expand_as(score), 2, best) <= 0
    return torch.sort(best + length * padding, dim=2).values % length


def open_slots(importance: Tensor, valid: Tensor, slot: Tensor, protect: Sequence[int]) -> Tensor:
    """bool (B, H, budget): slots of valid tokens (``slot`` as of `pivots_of`) but for the ``protect`` most important."""
    filled = torch.gather(valid[:, None].expand_as(importance), 2, slot) > 0
    own = torch.where(filled, torch.gather(importance.float(), 2, slot), -1.0)
    order = torch.sort(own, dim=2, descending=True, stable=True).indices
    rank = torch.arange(slot.shape[2]).expand_as(order)
    rank = torch.empty_like(order).scatter_(2, order, rank)
    return filled & (rank >= torch.tensor(list(protect))[:, None])


def targets_of(key: Tensor, modality: Tensor, valid: Tensor, slot: Tensor, is_open: Tensor, cross: Tensor) -> Tensor:
    """int32 (B, H, L), see `cache_match`; ``cross`` bool (B,), ``slot`` and ``is_open`` (B, H, budget) as above."""
    batch, heads, length, _ = key.shape
    unit = torch.nn.functional.normalize(key.float(), dim=-1, eps=1e-12)
    pivots = torch.gather(unit, 2, slot[..., None].expand(-1, -1, -1, key.shape[3]))
    cosine = unit @ pivots.transpose(2, 3)
    kinds = modality[:, None].expand(batch, heads, length)
    same = kinds[..., None] == torch.gather(kinds, 2, slot)[:, :, None]
    allowed = is_open[:, :, None] & (cross[:, None, None, None] | same)
    cosine = torch.where(allowed, cosine, -2.0)
    best = cosine.argmax(dim=3)
    found = (cosine.amax(dim=3) > -1.5) & (valid[:, None] > 0)
    target = torch.where(found, best, -1)
    filled = torch.gather(valid[:, None].expand(batch, heads, length), 2, slot) > 0
    index = torch.arange(slot.shape[2]).expand_as(slot)
    return target.scatter(2, slot, torch.where(filled, index, -1)).to(torch.int32)


def onnx_function() -> onnx.FunctionProto:
    """The op in standard operators.

    TopK's tie rule and ArgMax's (lowest index first) are the ONNX standard's. Pivots are sorted by position with those of
    padding behind; a slot's own place is written by a scatter of distinct places. ``protect`` closes slots by the rank of
    their importance, which a scatter of TopK's order gives.
    """
    return parser.parse_function(f"""
        <domain: "{DOMAIN}", opset_import: ["": {OPSET}]>
        {NAME} <budget, cross, protect, keep_recent, absorb> (key, importance, modality, valid) => (pivot, target) {{
            axis_one = Constant <value_ints = [1]> ()
            zero = Constant <value_ints = [0]> ()
            two = Constant <value_ints = [2]> ()
            three = Constant <value_ints = [3]> ()
            minus = Constant <value_float = -1.0> ()
            below = Constant <value_float = -2.0> ()
            least = Constant <value_float = -1.5> ()
            none = Constant <value_int = -1> ()
            none_int = Cast <to = 6> (none)
            budget_scalar = Constant <value_int: int = @budget> ()
            budget_vector = Reshape (budget_scalar, axis_one)
            length = Shape <start = 2, end = 3> (importance)
            length_scalar = Squeeze (length)
            start = Constant <value_int = 0> ()
            step = Constant <value_int = 1> ()
            shape = Shape (importance)

            zero_int = Cast <to = 6> (zero)
            is_valid = Greater (valid, zero_int)
            valid_row = Unsqueeze (is_valid, axis_one)
            valid_heads = Expand (valid_row, shape)
            recent_scalar = Constant <value_int: int = @keep_recent> ()
            recent_start = Sub (length_scalar, recent_scalar)
            position = Range (start, length_scalar, step)
            before_recent = Less (position, recent_start)
            lift = Constant <value_float = 1.7014117e38> ()
            nothing = Constant <value_float = 0.0> ()
            lifted_row = Where (before_recent, nothing, lift)
            lifted = Add (importance, lifted_row)
            score = Where (valid_heads, lifted, minus)
            _values, best = TopK <axis = 2, largest = 1, sorted = 1> (score, budget_vector)

            valid_int = Cast <to = 7> (valid_heads)
            best_valid = GatherElements <axis = 2> (valid_int, best)
            best_padding = Sub (step, best_valid)
            behind = Mul (best_padding, length)
            place = Add (best, behind)
            place_float = Cast <to = 1> (place)
            _order, by_place = TopK <axis = 2, largest = 0, sorted = 1> (place_float, budget_vector)
            slot = GatherElements <axis = 2> (best, by_place)
            slot_valid = GatherElements <axis = 2> (valid_int, slot)
            filled = Greater (slot_valid, start)
            slot_int = Cast <to = 6> (slot)
            pivot = Where (filled, slot_int, none_int)

            own_raw = GatherElements <axis = 2> (importance, slot)
            own = Where (filled, own_raw, minus)
            _own, order = TopK <axis = 2, largest = 1, sorted = 1> (own, budget_vector)
            slot_index = Range (start, budget_scalar, step)
            slot_shape = Shape (slot)
            slots = Expand (slot_index, slot_shape)
            rank = ScatterElements <axis = 2> (slots, order, slots)
            protect_vector = Constant <value_ints: ints = @protect> ()
            protect_column = Unsqueeze (protect_vector, axis_one)
            unprotected = GreaterOrEqual (rank, protect_column)
            unprotected_filled = And (unprotected, filled)
            absorb_scalar = Constant <value_int: int = @absorb> ()
            absorbs = Cast <to = 9> (absorb_scalar)
            is_open = And (unprotected_filled, absorbs)

            square = Mul (key, key)
            norm_square = ReduceSum <keepdims = 1> (square, three)
            norm_plain = Sqrt (norm_square)
            epsilon = Constant <value_float = 1e-12> ()
            norm = Max (norm_plain, epsilon)
            unit = Div (key, norm)
            slot_column = Unsqueeze (slot, three)
            pivot_unit = GatherND <batch_dims = 2> (unit, slot_column)
            pivot_across = Transpose <perm = [0, 1, 3, 2]> (pivot_unit)
            cosine_all = MatMul (unit, pivot_across)
            kind_row = Unsqueeze (modality, axis_one)
            kinds = Expand (kind_row, shape)
            slot_kind = GatherElements <axis = 2> (kinds, slot)
            kind_column = Unsqueeze (kinds, three)
            slot_kind_row = Unsqueeze (slot_kind, two)
            same = Equal (kind_column, slot_kind_row)
            cross_scalar = Constant <value_int: int = @cross> ()
            crosses = Cast <to = 9> (cross_scalar)
            may = Or (same, crosses)
            open_row = Unsqueeze (is_open, two)
            allowed = And (may, open_row)
            cosine = Where (allowed, cosine_all, below)
            match = ArgMax <axis = 3, keepdims = 0> (cosine)
            highest = ReduceMax <keepdims = 0> (cosine, three)
            matched = Greater (highest, least)
            found = And (matched, valid_heads)
            other = Where (found, match, none)
            own_slot = Where (filled, slots, none)
            target_wide = ScatterElements <axis = 2> (other, slot, own_slot)
            target = Cast <to = 6> (target_wide)
        }}""")
