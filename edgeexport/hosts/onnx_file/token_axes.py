"""Where tokens stand in every value of a part of a graph, and what has to change so that the part takes another number of them.

Every axis is followed as ``per_token * n + fixed`` elements, from what enters the part to what leaves it. Sizes, names and
positions prove nothing: an axis of 197 elements is one of tokens only where it was computed from one. A node by which tokens
exchange anything, but for attention itself, is an error, and so is one that is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeexport.hosts.onnx_file.axis import Axis, Table
from edgeexport.hosts.onnx_file.graph import PlainGraph
from edgeexport.hosts.onnx_file.refused import NotRecognised, label_of
from edgeexport.hosts.onnx_file.token_rules import RULES

__all__ = ["TokenAxes"]

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
            rule = TokenAxes._elementwise if node.op_type in _ELEMENTWISE else RULES.get(node.op_type)
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
            result.append(self.broadcast(node, met))
        for index, name in enumerate(node.input):
            if name in names and self.graph.is_constant(name):
                self._constant_meets(position, index, name, tuple(result))
        for name in filter(None, node.output):
            self.axes[name] = tuple(result)

    def broadcast(self, node: onnx.NodeProto, met: Sequence[tuple[Axis, bool]]) -> Axis:
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
