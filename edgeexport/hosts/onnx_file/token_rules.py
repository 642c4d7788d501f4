"""How tokens go through operators that are not elementwise, one function each, for `edgeexport.hosts.onnx_file.token_axes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from edgeexport.hosts.onnx_file.axis import Axis

if TYPE_CHECKING:
    from edgeexport.hosts.onnx_file.token_axes import TokenAxes

__all__ = ["RULES"]


def _check_fixed(
    follower: TokenAxes, position: int, node: onnx.NodeProto, name: str, places: Sequence[int], what: str
) -> None:
    axes = follower.of(name)
    if any(axes[place].per_token for place in places) and position not in follower.mixes:
        raise follower.refusal(node, f"{what} the axis of tokens: tokens exchange something outside of attention")


def _product(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    first, second = (follower.of(name) for name in node.input)
    if len(second) == 1 or len(first) == 1:
        raise follower.refusal(node, "multiplies a vector")
    if first[-1].per_token or second[-2].per_token:
        if position not in follower.mixes or first[-1] != second[-2]:
            raise follower.refusal(node, "sums over tokens: tokens exchange something outside of attention")
    elif first[-1] != second[-2]:
        raise follower.refusal(node, "its operands do not fit")
    rank = max(len(first), len(second))
    batch = []
    for place in range(-rank, -2):
        met = [(axes[place], False) for axes in (first, second) if len(axes) >= -place]
        batch.append(follower.broadcast(node, met))
    follower.axes[node.output[0]] = (*batch, first[-2], second[-1])


def _gemm(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    own = _attributes(node)
    rows, weight = (follower.of(name) for name in node.input[:2])
    if own.get("transA", 0) or rows[-1].per_token or any(axis.per_token for axis in weight):
        raise follower.refusal(node, "sums over tokens: tokens exchange something outside of attention")
    follower.axes[node.output[0]] = (rows[0], weight[0 if own.get("transB", 0) else 1])


def _softmax(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    _check_fixed(follower, position, node, node.input[0], [_attributes(node).get("axis", -1)], "normalises along")
    follower.axes[node.output[0]] = follower.of(node.input[0])


def _norm(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes = follower.of(node.input[0])
    first = _attributes(node).get("axis", -1)
    places = range(first if first >= 0 else len(axes) + first, len(axes))
    _check_fixed(follower, position, node, node.input[0], places, "normalises along")
    kept = [*axes[: places[0]], *[Axis(0, 1)] * len(places)]
    for name, value in zip(node.output, (axes, tuple(kept), tuple(kept)), strict=False):
        follower.axes[name] = value


def _reduction(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes, own = follower.of(node.input[0]), _attributes(node)
    given = follower.graph.numbers(node.input[1]) if len(node.input) > 1 and node.input[1] else range(len(axes))
    places = {place % len(axes) for place in given}
    _check_fixed(follower, position, node, node.input[0], list(places), "reduces")
    keep = own.get("keepdims", 1)
    left = [Axis(0, 1) if place in places else axis for place, axis in enumerate(axes)]
    follower.axes[node.output[0]] = tuple(axis for place, axis in enumerate(left) if keep or place not in places)


def _transpose(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes = follower.of(node.input[0])
    order = _attributes(node).get("perm") or list(range(len(axes)))[::-1]
    follower.axes[node.output[0]] = tuple(axes[place] for place in order)


def _squeeze(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes = follower.of(node.input[0])
    given = follower.graph.numbers(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    places = (
        {place for place, axis in enumerate(axes) if axis == Axis(0, 1)}
        if given is None
        else {place % len(axes) for place in given}
    )
    follower.axes[node.output[0]] = tuple(axis for place, axis in enumerate(axes) if place not in places)


def _unsqueeze(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes = list(follower.of(node.input[0]))
    given = follower.graph.numbers(node.input[1])
    rank = len(axes) + len(given)
    for place in sorted(place % rank for place in given):
        axes.insert(place, Axis(0, 1))
    follower.axes[node.output[0]] = tuple(axes)


def _reshape(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes, shape = follower.of(node.input[0]), follower.graph.shapes[node.output[0]]
    result = [Axis(0, size) for size in shape]
    for place, axis in enumerate(axes):
        if not axis.per_token:
            continue
        behind = _product_of(axes[place + 1 :], follower.tokens)
        unit = follower.tokens if not axis.fixed else axis.size(follower.tokens)
        found = [
            other
            for other, size in enumerate(shape)
            if int(np.prod(shape[other + 1 :], dtype=np.int64)) == behind
            and size % unit == 0
            and not result[other].per_token
        ]
        if not found or (axis.fixed and shape[found[-1]] != unit):
            raise follower.refusal(
                node, f"from {list(follower.graph.shapes[node.input[0]])} to {list(shape)} takes tokens apart"
            )
        result[found[-1]] = axis if axis.fixed else Axis(shape[found[-1]] // follower.tokens, 0)
    for count in (follower.tokens, follower.tokens + 7, 2 * follower.tokens + 1):
        if _product_of(axes, count) != _product_of(result, count):
            raise follower.refusal(
                node, f"from {list(follower.graph.shapes[node.input[0]])} to {list(shape)} takes tokens apart"
            )
    follower.axes[node.output[0]] = tuple(result)
    if node.op_type != "Reshape" or not any(axis.per_token for axis in axes):
        return
    target = follower.graph.numbers(node.input[1])
    zero_copies = not _attributes(node).get("allowzero", 0)

    def rewritten(tokens: int) -> list[int]:
        wanted = [axis.size(tokens) for axis in result]
        entering = [axis.size(tokens) for axis in axes]
        same = [
            entering[at] if entry == 0 and zero_copies and at < len(entering) else entry
            for at, entry in enumerate(target)
        ]
        fits = all(entry in (-1, size) for entry, size in zip(same, wanted, strict=True))
        return target if fits else wanted

    follower.sizes[position, 1] = rewritten


def _expand(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes, shape = follower.of(node.input[0]), follower.graph.shapes[node.output[0]]
    padded = [Axis(0, 1)] * (len(shape) - len(axes)) + list(axes)
    result = [Axis(0, size) if axis == Axis(0, 1) else axis for axis, size in zip(padded, shape, strict=True)]
    follower.axes[node.output[0]] = tuple(result)
    if any(axis.per_token for axis in axes):
        follower.sizes[position, 1] = lambda tokens: [axis.size(tokens) for axis in result]


def _concat(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    place = _attributes(node)["axis"]
    every = [follower.of(name) for name in node.input]
    place %= len(every[0])
    joined = Axis(sum(axes[place].per_token for axes in every), sum(axes[place].fixed for axes in every))
    varying = next((axes for axes in every if any(axis.per_token for axis in axes)), every[0])
    if any(axes[at] != varying[at] for axes in every for at in range(len(varying)) if at != place):
        raise follower.refusal(node, "joins values with different tokens")
    follower.axes[node.output[0]] = (*varying[:place], joined, *varying[place + 1 :])


def _split(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes, own = follower.of(node.input[0]), _attributes(node)
    place = own.get("axis", 0) % len(axes)
    ends = np.cumsum([follower.graph.shapes[name][place] for name in node.output]).tolist()
    if not axes[place].per_token:
        parts = [Axis(0, end - start) for start, end in zip([0, *ends], ends, strict=False)]
    else:
        parts = [
            _stretch(follower, node, axes[place], start, end) for start, end in zip([0, *ends], ends, strict=False)
        ]
        if len(node.input) < 2 or not node.input[1]:
            raise follower.refusal(node, "cuts the axis of tokens into equal parts")
        follower.sizes[position, 1] = lambda tokens: [part.size(tokens) for part in parts]
    for name, part in zip(node.output, parts, strict=True):
        follower.axes[name] = (*axes[:place], part, *axes[place + 1 :])


def _stretch(follower: TokenAxes, node: onnx.NodeProto, axis: Axis, start: int, end: int) -> Axis:
    """Tokens ``start`` to ``end`` of an axis: all from a prefix token on, or prefix tokens alone."""
    size, prefix = axis.size(follower.tokens), follower.prefix or 0
    ahead = prefix + (axis.fixed if axis.fixed < 0 else 0)
    if axis.per_token == 1 and end == size and start <= ahead:
        return Axis(1, axis.fixed - start)
    if axis.per_token == 1 and axis.fixed <= 0 and end <= ahead:
        return Axis(0, end - start)
    raise follower.refusal(
        node, f"takes elements {start} to {end} of {size} tokens, {prefix} of them ahead of the patches"
    )


def _slice(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes = list(follower.of(node.input[0]))
    starts, ends = (follower.graph.numbers(name) for name in node.input[1:3])
    optional = [follower.graph.numbers(name) if name else None for name in node.input[3:5]]
    places = (optional[0] if optional else None) or list(range(len(starts)))
    steps = (optional[1] if len(optional) > 1 else None) or [1] * len(starts)
    new_starts: list[int] = []
    cut: list[Axis | None] = []
    for start, end, given, step in zip(starts, ends, places, steps, strict=True):
        place = given % len(axes)
        size = follower.graph.shapes[node.input[0]][place]
        if not axes[place].per_token:
            axes[place] = Axis(0, follower.graph.shapes[node.output[0]][place])
            new_starts.append(start)
            cut.append(None)
            continue
        if step != 1:
            raise follower.refusal(node, f"takes every {step}th token")
        first, last = (min(max(at + size if at < 0 else at, 0), size) for at in (start, end))
        axes[place] = _stretch(follower, node, axes[place], first, last)
        new_starts.append(first)
        cut.append(axes[place])
    follower.axes[node.output[0]] = tuple(axes)
    if any(axis is not None for axis in cut):
        follower.sizes[position, 1] = lambda tokens: new_starts
        follower.sizes[position, 2] = lambda tokens: [
            end if axis is None else start + axis.size(tokens)
            for start, end, axis in zip(new_starts, ends, cut, strict=True)
        ]


def _gather(follower: TokenAxes, position: int, node: onnx.NodeProto) -> None:
    axes = follower.of(node.input[0])
    place = _attributes(node).get("axis", 0) % len(axes)
    if not follower.graph.is_constant(node.input[1]):
        raise follower.refusal(node, "chooses by what the image shows")
    chosen = follower.graph.numbers(node.input[1])
    if axes[place].per_token:
        for token in chosen:
            _stretch(follower, node, axes[place], token, token + 1)
    index = tuple(Axis(0, size) for size in follower.graph.shapes[node.input[1]])
    follower.axes[node.output[0]] = (*axes[:place], *index, *axes[place + 1 :])


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _product_of(axes: Sequence[Axis], tokens: int) -> int:
    return int(np.prod([axis.size(tokens) for axis in axes], dtype=np.int64))


RULES: dict[str, Callable[[TokenAxes, int, onnx.NodeProto], None]] = {
    "MatMul": _product,
    "Gemm": _gemm,
    "Softmax": _softmax,
    "LayerNormalization": _norm,
    **{
        name: _reduction
        for name in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
    },
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Expand": _expand,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
}
