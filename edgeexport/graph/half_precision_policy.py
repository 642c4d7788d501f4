"""Which nodes of a graph compute in float16: the policy of torch's autocast, with every decision left in float32.

In float16: products with weights and their biases, attention (queries times keys, scale and bias, softmax, times values),
and what lies between them on float16 values alone (GELU, ReLU, a gate). In float32: norms, the residual stream, reductions,
custom ops, and whatever a decision or an output of the graph is computed from, back to the nearest product with weights or
norm: similarities, confidences, sizes, scores. What only moves values has the dtype of what it moves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from edgeexport.ops import DOMAIN

__all__ = ["DECIDING", "MOVING", "NORMS", "GraphValues", "half_nodes"]

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
NORMS = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization"})
DECIDING = frozenset({"ArgMax", "ArgMin", "TopK"})
"""Standard operators that choose; custom ops (choices, and merging of the residual stream) are treated alike."""

MOVING = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""They compute nothing, so they are exact in any dtype: a decision loses nothing to them."""

_WHOLE = MOVING - {"Gather", "Slice"}
"""What these read is no more than what they give out, so that a cast before them costs no more than one behind."""

_UNARY = frozenset({"Clip", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
_BINARY = frozenset({"Add", "Div", "Mul", "Sub"})


@dataclass(frozen=True)
class GraphValues:
    """What the policy knows of a graph's values.

    Attributes:
        dtypes: value -> element type (`onnx.TensorProto`).
        shapes: value -> dimensions, where they are constant.
        constants: Initializers.
        kept: Values that somebody outside reads: graph outputs, and inner values that a runner may ask for.
    """

    dtypes: Mapping[str, int]
    shapes: Mapping[str, Sequence[int]]
    constants: Collection[str]
    kept: Collection[str]

    def is_float(self, value: str) -> bool:
        """Whether ``value`` is there and float32."""
        return self.dtypes.get(value) == TensorProto.FLOAT

    def is_scalar(self, value: str) -> bool:
        """Whether ``value`` is a constant of one element."""
        return value in self.constants and all(extent == 1 for extent in self.shapes.get(value, (0,)))

    def moved(self, node: onnx.NodeProto) -> list[str]:
        """The float32 values that a node of `MOVING` gives out again."""
        read = list(node.input) if node.op_type == "Concat" else list(node.input[:1])
        return [value for value in read if self.is_float(value)]


def half_nodes(nodes: Sequence[onnx.NodeProto], values: GraphValues) -> frozenset[int]:
    """Positions of the nodes that compute in float16.

    Args:
        nodes: In order of execution, without nested graphs; custom ops as calls.
        values: Of the same graph.
    """
    graph = _Graph(nodes, values)
    products = graph.products()
    decided = graph.decided(products)
    asked = (products | graph.attention(products)) - decided
    half: set[int] = set()
    for position, node in enumerate(nodes):
        followed = graph.follows(node, half) and (position not in decided or node.op_type in MOVING)
        if position in asked or followed:
            half.add(position)
    for position in range(len(nodes) - 1, -1, -1):  # what moves float32 to float16 nodes alone moves half the bytes
        if position not in half and graph.serves(nodes[position], half):
            half.add(position)
    return frozenset(half)


class _Graph:
    """The nodes with their makers and readers."""

    def __init__(self, nodes: Sequence[onnx.NodeProto], values: GraphValues) -> None:
        self.nodes = nodes
        self.values = values
        self.maker: dict[str, int] = {}
        self.readers: dict[str, list[int]] = {}
        for position, node in enumerate(nodes):
            self.maker.update((value, position) for value in node.output if value)
            for value in filter(None, node.input):
                self.readers.setdefault(value, []).append(position)

    def products(self) -> set[int]:
        """Products with weights, and the biases added to them."""
        weights = set(self.values.constants)
        for node in self.nodes:
            if node.op_type in MOVING and node.input and node.input[0] in weights:
                weights.update(node.output)
        found: set[int] = set()
        for position, node in enumerate(self.nodes):
            if node.domain == "" and node.op_type in WEIGHTED and weights.intersection(node.input[:2]):
                found.add(position)
                found.update(self._bias(node))
        return found

    def _bias(self, product: onnx.NodeProto) -> Iterator[int]:
        """The addition of a bias to a product of matrices; other operators hold theirs."""
        readers = self.readers.get(product.output[0], [])
        if product.op_type != "MatMul" or len(readers) != 1 or product.output[0] in self.values.kept:
            return
        node = self.nodes[readers[0]]
        other = [value for value in node.input if value != product.output[0]]
        if node.op_type == "Add" and len(other) == 1 and other[0] in self.values.constants:
            shape = self.values.shapes[other[0]]
            if all(extent == 1 for extent in shape[:-1]):  # per channel; positions and the like are no bias
                yield readers[0]

    def decided(self, products: set[int]) -> set[int]:
        """What decisions and outputs are computed from, back to the nearest product with weights or norm."""
        waiting = list(self.values.kept)
        for node in self.nodes:
            if node.domain == DOMAIN or node.op_type in DECIDING:
                waiting += [value for value in node.input if self.values.is_float(value)]
        found: set[int] = set()
        while waiting:
            position = self.maker.get(waiting.pop())
            if position is None or position in found or position in products:
                continue
            if self.nodes[position].op_type in NORMS:
                continue
            found.add(position)
            waiting += [value for value in self.nodes[position].input if self.values.is_float(value)]
        return found

    def attention(self, products: set[int]) -> set[int]:
        """Softmax with the product of two computed values before it and the one behind it, and what lies between."""
        found: set[int] = set()
        for position, node in enumerate(self.nodes):
            if node.op_type != "Softmax":
                continue
            before = self._scores(node.input[0], products)
            behind = [
                reader
                for reader in self.readers.get(node.output[0], [])
                if self.nodes[reader].op_type == "MatMul"
                and reader not in products
                and self.nodes[reader].input[0] == node.output[0]
            ]
            if before and behind:
                found |= {position, *before, *behind}
        return found

    def _scores(self, value: str, products: set[int]) -> set[int]:
        """From attention's logits back to queries times keys; empty where there is no such product."""
        position = self.maker.get(value)
        if position is None or position in products:
            return set()
        node = self.nodes[position]
        if node.op_type == "MatMul":
            return {position}
        if node.op_type not in _BINARY:
            return set()
        for operand in node.input:
            if before := self._scores(operand, products):
                return {position, *before}
        return set()

    def follows(self, node: onnx.NodeProto, half: set[int]) -> bool:
        """Whether a node works on float16 values alone, so that float32 would add nothing."""
        if node.domain:
            return False
        if node.op_type in MOVING:
            read = self.values.moved(node)
        elif node.op_type in _UNARY:
            read = list(node.input[:1])
        elif node.op_type in _BINARY:
            read = [value for value in node.input if not self.values.is_scalar(value)]
        else:
            return False
        return bool(read) and all(self.maker.get(value) in half for value in read)

    def serves(self, node: onnx.NodeProto, half: set[int]) -> bool:
        """Whether a node moves float32 values that only float16 nodes read."""
        if node.domain or node.op_type not in _WHOLE or not self.values.moved(node):
            return False
        if any(value in self.values.kept for value in node.output):
            return False
        readers = [reader for value in node.output for reader in self.readers.get(value, [])]
        return bool(readers) and all(reader in half for reader in readers)
