"""Where tokens stand in every value of a part of a graph, and what has to change so that the part takes another number of them.

Every axis is followed as ``per_token * n + fixed`` elements, from what enters the part to what leaves it. Sizes, names and
positions prove nothing: an axis of 197 elements is one of tokens only where it was computed from one. A node by which tokens
exchange anything, but for attention itself, is an error, and so is one that is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgeexport.hosts.onnx_file.graph import PlainGraph
from edgeexport.hosts.onnx_file.refused import NotRecognised, label_of

__all__ = ["Axis", "Table", "TokenAxes"]


class Axis(NamedTuple):
    """An axis of ``per_token * n + fixed`` elements."""

    per_token: int
    fixed: int

    def size(self, tokens: int) -> int:
        """Its elements where there are so many tokens."""
        return self.per_token * tokens + self.fixed


@dataclass(frozen=True)
class Table:
    """A constant with a row for every token, such as sines of rotary positions, where it meets the tokens.

    Attributes:
        name: The constant.
        axis: Its axis of tokens, counted from the end (negative).
        first: The token of its first row.
        meets: Axes of the result of the node that reads it.
    """

    name: str
    axis: int
    first: int
    meets: tuple[Axis, ...]


Sizes = Callable[[int], list[int]]
_ELEMENTWISE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Div", "Dropout", "Elu", "Equal", "Erf",
        "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
        "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
        "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum",
        "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
    }
)  # fmt: skip
_LAST_INPUTS_ARE_SETTINGS = frozenset({"Clip", "Dropout"})


class TokenAxes:
    """Follows tokens through nodes of a graph.

    Args:
        graph: In its plain form.
        tokens: N, that it was exported for.
        prefix: Tokens ahead of the patches, which stay ahead of them.
        mixes: Positions of the nodes by which tokens may exchange something: attention's softmax and product with values.

    Attributes:
        axes: Value -> its axes.
        sizes: (Position of a node, input) -> what a constant of sizes becomes for n tokens.
        narrowed: (Position, input) -> a constant that is the same for every token, with one row.
        tables: (Position, input) -> a constant with a row per token.
        turned: Values that depend on tables.
    """

    def __init__(self, graph: PlainGraph, tokens: int, prefix: int | None, mixes: Collection[int] = ()) -> None:
        self.graph, self.tokens, self.prefix, self.mixes = graph, tokens, prefix, mixes
        self.axes: dict[str, tuple[Axis, ...]] = {}
        self.sizes: dict[tuple[int, int], Sizes] = {}
        self.narrowed: dict[tuple[int, int], NDArray] = {}
        self.tables: dict[tuple[int, int], Table] = {}
        self.turned: set[str] = set()

    def follow(self, positions: Collection[int]) -> None:
        """Through nodes, in order; `axes` of what they read from elsewhere are known, or the same for any number of tokens.

        Raises:
            NotRecognised: The node that cannot be followed, and why.
        """
        for position in sorted(positions):
            node = self.graph.nodes[position]
            rule = TokenAxes._elementwise if node.op_type in _ELEMENTWISE else _RULES.get(node.op_type)
            if rule is None:
                raise self.refusal(node, "tokens are not followed through this operator")
            rule(self, position, node)
            if any(name in self.turned for name in node.input) or any(at[0] == position for at in self.tables):
                self.turned.update(node.output)
            self._check(node)

    def of(self, name: str) -> tuple[Axis, ...]:
        """Axes of a value; those of one that is not followed are fixed."""
        return self.axes.get(name) or tuple(Axis(0, size) for size in self.graph.shapes[name])

    def refusal(self, node: onnx.NodeProto, problem: str, remedy: str = "") -> NotRecognised:
        """The error for a node that cannot be followed."""
        remedy = remedy or "token reduction needs blocks in which attention alone connects tokens"
        return NotRecognised(label_of(node), problem, remedy)

    def _check(self, node: onnx.NodeProto) -> None:
        for name in filter(None, node.output):
            shape = tuple(axis.size(self.tokens) for axis in self.axes[name])
            if shape != self.graph.shapes[name]:
                raise self.refusal(
                    node, f"its result {list(self.graph.shapes[name])} does not follow from its inputs' tokens"
                )

    def _elementwise(self, position: int, node: onnx.NodeProto) -> None:
        settings = node.op_type in _LAST_INPUTS_ARE_SETTINGS
        names = list(node.input[:1] if settings else filter(None, node.input))
        rank = max(len(self.of(name)) for name in names)
        result: list[Axis] = []
        for place in range(-rank, 0):
            met = [
                (self.of(name)[place], self.graph.is_constant(name)) for name in names if len(self.of(name)) >= -place
            ]
            result.append(self._broadcast(node, met))
        for index, name in enumerate(node.input):
            if name in names and self.graph.is_constant(name):
                self._constant_meets(position, index, name, tuple(result))
        for name in filter(None, node.output):
            self.axes[name] = tuple(result)

    def _broadcast(self, node: onnx.NodeProto, met: Sequence[tuple[Axis, bool]]) -> Axis:
        """One axis of several operands; constants follow the others."""
        leading = [axis for axis, constant in met if not constant and axis != Axis(0, 1)]
        if not leading:
            return max((axis for axis, _ in met), key=lambda axis: axis.fixed)
        if any(axis != leading[0] for axis in leading):
            raise self.refusal(node, "its operands do not have the same tokens")
        return leading[0]

    def _constant_meets(self, position: int, index: int, name: str, result: tuple[Axis, ...]) -> None:
        """A constant with rows for tokens becomes one row where all are equal, else a table."""
        shape, node = self.graph.shapes[name], self.graph.nodes[position]
        along = [place for place in range(-len(shape), 0) if result[place].per_token and shape[place] != 1]
        if not along:
            return
        array = self.graph.array(name)
        for place in list(along):
            row = array.take([0], axis=place)
            if np.array_equal(np.broadcast_to(row, array.shape), array, equal_nan=array.dtype.kind == "f"):
                array = row
                along.remove(place)
        if not along:
            self.narrowed[position, index] = array
            return
        axis = result[along[0]]
        if len(along) > 1:
            raise self.refusal(
                node,
                f"'{name}' {list(shape)} differs for every pair of tokens (a mask, or a bias by relative position), and "
                "pairs of merged tokens have none",
                "export it without a mask; relative positions cannot be merged",
            )
        if axis.per_token != 1 or axis.fixed > 0:
            raise self.refusal(node, f"rows of '{name}' {list(shape)} stand for several tokens each")
        self.tables[position, index] = Table(name, along[0], -axis.fixed, result)

    def _fixed(self, position: int, node: onnx.NodeProto, name: str, places: Sequence[int], what: str) -> None:
        axes = self.of(name)
        if any(axes[place].per_token for place in places) and position not in self.mixes:
            raise self.refusal(node, f"{what} the axis of tokens: tokens exchange something outside of attention")

    def _product(self, position: int, node: onnx.NodeProto) -> None:
        first, second = (self.of(name) for name in node.input)
        if len(second) == 1 or len(first) == 1:
            raise self.refusal(node, "multiplies a vector")
        if first[-1].per_token or second[-2].per_token:
            if position not in self.mixes or first[-1] != second[-2]:
                raise self.refusal(node, "sums over tokens: tokens exchange something outside of attention")
        elif first[-1] != second[-2]:
            raise self.refusal(node, "its operands do not fit")
        rank = max(len(first), len(second))
        batch = []
        for place in range(-rank, -2):
            met = [(axes[place], False) for axes in (first, second) if len(axes) >= -place]
            batch.append(self._broadcast(node, met))
        self.axes[node.output[0]] = (*batch, first[-2], second[-1])

    def _gemm(self, position: int, node: onnx.NodeProto) -> None:
        own = _attributes(node)
        rows, weight = (self.of(name) for name in node.input[:2])
        if own.get("transA", 0) or rows[-1].per_token or any(axis.per_token for axis in weight):
            raise self.refusal(node, "sums over tokens: tokens exchange something outside of attention")
        self.axes[node.output[0]] = (rows[0], weight[0 if own.get("transB", 0) else 1])

    def _softmax(self, position: int, node: onnx.NodeProto) -> None:
        self._fixed(position, node, node.input[0], [_attributes(node).get("axis", -1)], "normalises along")
        self.axes[node.output[0]] = self.of(node.input[0])

    def _norm(self, position: int, node: onnx.NodeProto) -> None:
        axes = self.of(node.input[0])
        first = _attributes(node).get("axis", -1)
        places = range(first if first >= 0 else len(axes) + first, len(axes))
        self._fixed(position, node, node.input[0], places, "normalises along")
        kept = [*axes[: places[0]], *[Axis(0, 1)] * len(places)]
        for name, value in zip(node.output, (axes, tuple(kept), tuple(kept)), strict=False):
            self.axes[name] = value

    def _reduction(self, position: int, node: onnx.NodeProto) -> None:
        axes, own = self.of(node.input[0]), _attributes(node)
        given = self.graph.numbers(node.input[1]) if len(node.input) > 1 and node.input[1] else range(len(axes))
        places = {place % len(axes) for place in given}
        self._fixed(position, node, node.input[0], list(places), "reduces")
        keep = own.get("keepdims", 1)
        left = [Axis(0, 1) if place in places else axis for place, axis in enumerate(axes)]
        self.axes[node.output[0]] = tuple(axis for place, axis in enumerate(left) if keep or place not in places)

    def _transpose(self, position: int, node: onnx.NodeProto) -> None:
        axes = self.of(node.input[0])
        order = _attributes(node).get("perm") or list(range(len(axes)))[::-1]
        self.axes[node.output[0]] = tuple(axes[place] for place in order)

    def _squeeze(self, position: int, node: onnx.NodeProto) -> None:
        axes = self.of(node.input[0])
        given = self.graph.numbers(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        places = (
            {place for place, axis in enumerate(axes) if axis == Axis(0, 1)}
            if given is None
            else {place % len(axes) for place in given}
        )
        self.axes[node.output[0]] = tuple(axis for place, axis in enumerate(axes) if place not in places)

    def _unsqueeze(self, position: int, node: onnx.NodeProto) -> None:
        axes = list(self.of(node.input[0]))
        given = self.graph.numbers(node.input[1])
        rank = len(axes) + len(given)
        for place in sorted(place % rank for place in given):
            axes.insert(place, Axis(0, 1))
        self.axes[node.output[0]] = tuple(axes)

    def _reshape(self, position: int, node: onnx.NodeProto) -> None:
        axes, shape = self.of(node.input[0]), self.graph.shapes[node.output[0]]
        result = [Axis(0, size) for size in shape]
        for place, axis in enumerate(axes):
            if not axis.per_token:
                continue
            behind = _product_of(axes[place + 1 :], self.tokens)
            unit = self.tokens if not axis.fixed else axis.size(self.tokens)
            found = [
                other
                for other, size in enumerate(shape)
                if int(np.prod(shape[other + 1 :], dtype=np.int64)) == behind
                and size % unit == 0
                and not result[other].per_token
            ]
            if not found or (axis.fixed and shape[found[-1]] != unit):
                raise self.refusal(
                    node, f"from {list(self.graph.shapes[node.input[0]])} to {list(shape)} takes tokens apart"
                )
            result[found[-1]] = axis if axis.fixed else Axis(shape[found[-1]] // self.tokens, 0)
        for count in (self.tokens, self.tokens + 7, 2 * self.tokens + 1):
            if _product_of(axes, count) != _product_of(result, count):
                raise self.refusal(
                    node, f"from {list(self.graph.shapes[node.input[0]])} to {list(shape)} takes tokens apart"
                )
        self.axes[node.output[0]] = tuple(result)
        if node.op_type != "Reshape" or not any(axis.per_token for axis in axes):
            return
        target = self.graph.numbers(node.input[1])
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

        self.sizes[position, 1] = rewritten

    def _expand(self, position: int, node: onnx.NodeProto) -> None:
        axes, shape = self.of(node.input[0]), self.graph.shapes[node.output[0]]
        padded = [Axis(0, 1)] * (len(shape) - len(axes)) + list(axes)
        result = [Axis(0, size) if axis == Axis(0, 1) else axis for axis, size in zip(padded, shape, strict=True)]
        self.axes[node.output[0]] = tuple(result)
        if any(axis.per_token for axis in axes):
            self.sizes[position, 1] = lambda tokens: [axis.size(tokens) for axis in result]

    def _concat(self, position: int, node: onnx.NodeProto) -> None:
        place = _attributes(node)["axis"]
        every = [self.of(name) for name in node.input]
        place %= len(every[0])
        joined = Axis(sum(axes[place].per_token for axes in every), sum(axes[place].fixed for axes in every))
        varying = next((axes for axes in every if any(axis.per_token for axis in axes)), every[0])
        if any(axes[at] != varying[at] for axes in every for at in range(len(varying)) if at != place):
            raise self.refusal(node, "joins values with different tokens")
        self.axes[node.output[0]] = (*varying[:place], joined, *varying[place + 1 :])

    def _split(self, position: int, node: onnx.NodeProto) -> None:
        axes, own = self.of(node.input[0]), _attributes(node)
        place = own.get("axis", 0) % len(axes)
        ends = np.cumsum([self.graph.shapes[name][place] for name in node.output]).tolist()
        if not axes[place].per_token:
            parts = [Axis(0, end - start) for start, end in zip([0, *ends], ends, strict=False)]
        else:
            parts = [self._stretch(node, axes[place], start, end) for start, end in zip([0, *ends], ends, strict=False)]
            if len(node.input) < 2 or not node.input[1]:
                raise self.refusal(node, "cuts the axis of tokens into equal parts")
            self.sizes[position, 1] = lambda tokens: [part.size(tokens) for part in parts]
        for name, part in zip(node.output, parts, strict=True):
            self.axes[name] = (*axes[:place], part, *axes[place + 1 :])

    def _stretch(self, node: onnx.NodeProto, axis: Axis, start: int, end: int) -> Axis:
        """Tokens ``start`` to ``end`` of an axis: all from a prefix token on, or prefix tokens alone."""
        size, prefix = axis.size(self.tokens), self.prefix or 0
        ahead = prefix + (axis.fixed if axis.fixed < 0 else 0)
        if axis.per_token == 1 and end == size and start <= ahead:
            return Axis(1, axis.fixed - start)
        if axis.per_token == 1 and axis.fixed <= 0 and end <= ahead:
            return Axis(0, end - start)
        raise self.refusal(
            node, f"takes elements {start} to {end} of {size} tokens, {prefix} of them ahead of the patches"
        )

    def _slice(self, position: int, node: onnx.NodeProto) -> None:
        axes = list(self.of(node.input[0]))
        starts, ends = (self.graph.numbers(name) for name in node.input[1:3])
        optional = [self.graph.numbers(name) if name else None for name in node.input[3:5]]
        places = (optional[0] if optional else None) or list(range(len(starts)))
        steps = (optional[1] if len(optional) > 1 else None) or [1] * len(starts)
        new_starts: list[int] = []
        cut: list[Axis | None] = []
        for start, end, given, step in zip(starts, ends, places, steps, strict=True):
            place = given % len(axes)
            size = self.graph.shapes[node.input[0]][place]
            if not axes[place].per_token:
                axes[place] = Axis(0, self.graph.shapes[node.output[0]][place])
                new_starts.append(start)
                cut.append(None)
                continue
            if step != 1:
                raise self.refusal(node, f"takes every {step}th token")
            first, last = (min(max(at + size if at < 0 else at, 0), size) for at in (start, end))
            axes[place] = self._stretch(node, axes[place], first, last)
            new_starts.append(first)
            cut.append(axes[place])
        self.axes[node.output[0]] = tuple(axes)
        if any(axis is not None for axis in cut):
            self.sizes[position, 1] = lambda tokens: new_starts
            self.sizes[position, 2] = lambda tokens: [
                end if axis is None else start + axis.size(tokens)
                for start, end, axis in zip(new_starts, ends, cut, strict=True)
            ]

    def _gather(self, position: int, node: onnx.NodeProto) -> None:
        axes = self.of(node.input[0])
        place = _attributes(node).get("axis", 0) % len(axes)
        if not self.graph.is_constant(node.input[1]):
            raise self.refusal(node, "chooses by what the image shows")
        chosen = self.graph.numbers(node.input[1])
        if axes[place].per_token:
            for token in chosen:
                self._stretch(node, axes[place], token, token + 1)
        index = tuple(Axis(0, size) for size in self.graph.shapes[node.input[1]])
        self.axes[node.output[0]] = (*axes[:place], *index, *axes[place + 1 :])


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _product_of(axes: Sequence[Axis], tokens: int) -> int:
    return int(np.prod([axis.size(tokens) for axis in axes], dtype=np.int64))


_RULES: dict[str, Callable[[TokenAxes, int, onnx.NodeProto], None]] = {
    "MatMul": TokenAxes._product,
    "Gemm": TokenAxes._gemm,
    "Softmax": TokenAxes._softmax,
    "LayerNormalization": TokenAxes._norm,
    **{
        name: TokenAxes._reduction
        for name in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
    },
    "Transpose": TokenAxes._transpose,
    "Squeeze": TokenAxes._squeeze,
    "Unsqueeze": TokenAxes._unsqueeze,
    "Reshape": TokenAxes._reshape,
    "Flatten": TokenAxes._reshape,
    "Expand": TokenAxes._expand,
    "Concat": TokenAxes._concat,
    "Split": TokenAxes._split,
    "Slice": TokenAxes._slice,
    "Gather": TokenAxes._gather,
}
