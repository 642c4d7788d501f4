"""Multiply-accumulates of an ONNX graph with constant shapes, node by node.

The independent cross-check of the formulas in `edgeexport.cost.macs`: it reads nothing but the graph. Same
convention: multiply-accumulate 1, LayerNormalization 5 and BatchNormalization 2 per element, Resize 1 per tap and
output element (linear 4); everything else 0. Nodes that depend on constants alone cost nothing, since every runtime
folds them. Weights are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx

from edgeexport.errors import LintError

__all__ = ["GraphCost", "NodeCost", "graph_macs"]

_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_LAYER_NORM = 5
_BATCH_NORM = 2
_TAPS = {"nearest": 0, "linear": 4, "cubic": 16}
# Standard operators that multiply but that no graph of ours has: reported as opaque rather than counted as nothing.
_UNCOUNTED = frozenset(
    {"ConvInteger", "DeformConv", "GRU", "LSTM", "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN"}
)

_Shape = tuple[int, ...]


@dataclass(frozen=True)
class NodeCost:
    """One node's work. ``category`` is 'product', 'norm' or 'resize'; a nameless node goes by its first output."""

    name: str
    op_type: str
    category: str
    macs: int


@dataclass(frozen=True)
class GraphCost:
    """The nodes of a graph that cost something, in graph order, for all images of a batch together.

    ``opaque`` names the nodes whose work is unknown and not in the totals: custom ones without a function body, and
    standard operators that multiply in a way not counted here.
    """

    nodes: tuple[NodeCost, ...]
    opaque: tuple[str, ...]

    @property
    def total(self) -> int:
        """Work of all nodes."""
        return sum(node.macs for node in self.nodes)

    def of_category(self, category: str) -> int:
        """Work of all nodes of one category."""
        return sum(node.macs for node in self.nodes if node.category == category)


def graph_macs(model: onnx.ModelProto) -> GraphCost:
    """Counts a graph whose functions are inlined and whose shapes are inferred.

    Raises:
        LintError: A function is called, a subgraph occurs, or a shape that is needed is unknown or symbolic.
    """
    functions = {(function.domain, function.name) for function in model.functions}
    shapes = _shapes_from_graph(model.graph)
    constants = {tensor.name for tensor in model.graph.initializer}
    constants.update(tensor.values.name for tensor in model.graph.sparse_initializer)
    nodes: list[NodeCost] = []
    opaque: list[str] = []
    for node in model.graph.node:
        name = node.name or node.output[0]
        if (node.domain, node.op_type) in functions:
            raise LintError(name, f"calls the function {node.domain}::{node.op_type}", "inline functions first")
        if any(attribute.type in _SUBGRAPH_TYPES for attribute in node.attribute):
            raise LintError(name, f"{node.op_type} holds a subgraph, whose work is not constant", "remove the branch")
        if _is_constant(node, constants):
            constants.update(output for output in node.output if output)
        elif node.domain not in _STANDARD_DOMAINS or node.op_type in _UNCOUNTED:
            opaque.append(name)
        elif node.op_type in _COUNTERS:
            category, count = _COUNTERS[node.op_type]
            macs = count(_Operands(node, name, shapes))
            if macs:
                nodes.append(NodeCost(name, node.op_type, category, macs))
    return GraphCost(tuple(nodes), tuple(opaque))


_SUBGRAPH_TYPES = frozenset({onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS})
_RANDOM_OPS = frozenset({"RandomNormal", "RandomUniform"})


def _is_constant(node: onnx.NodeProto, constants: set[str]) -> bool:
    """Whether a node's value is known before the input is: Shape and Size of a static value are."""
    if node.op_type in _RANDOM_OPS:
        return False
    if node.op_type in ("Shape", "Size") and node.domain in _STANDARD_DOMAINS:
        return True
    return all(value in constants for value in node.input if value)


def _shapes_from_graph(graph: onnx.GraphProto) -> dict[str, _Shape]:
    """Returns the constant shape of every value that has one."""
    shapes: dict[str, _Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            continue
        dims = tensor.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] not in shapes:
            for attribute in node.attribute:
                if attribute.name == "value":
                    shapes[node.output[0]] = tuple(attribute.t.dims)
    return shapes


class _Operands:
    """A node's shapes and attributes, with an error that names the node where one is unknown."""

    def __init__(self, node: onnx.NodeProto, name: str, shapes: dict[str, _Shape]) -> None:
        self._node, self._name, self._shapes = node, name, shapes

    def input(self, index: int) -> _Shape:
        return self._shape(self._node.input[index])

    def output(self) -> _Shape:
        return self._shape(self._node.output[0])

    def inputs(self) -> list[_Shape]:
        return [self._shape(value) for value in self._node.input]

    def attribute(self, name: str, default: object) -> object:
        for attribute in self._node.attribute:
            if attribute.name == name:
                return onnx.helper.get_attribute_value(attribute)
        return default

    def text(self, name: str, default: str) -> str:
        value = self.attribute(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def unsupported(self, what: str) -> LintError:
        return LintError(self._name, f"{self._node.op_type}: {what}", "use MatMul")

    def _shape(self, value: str) -> _Shape:
        if value not in self._shapes:
            raise LintError(
                self._name,
                f"{self._node.op_type}: the shape of '{value}' is unknown or not constant",
                "fix the input shapes and run ONNX shape inference",
            )
        return self._shapes[value]


def _matmul(operands: _Operands) -> int:
    return prod(operands.output()) * operands.input(0)[-1]


def _gemm(operands: _Operands) -> int:
    inner = operands.input(0)[0 if operands.attribute("transA", 0) else 1]
    return prod(operands.output()) * inner


def _conv(operands: _Operands) -> int:
    """Weight is (out, in / groups, *kernel): each output element takes one product per weight of its channel."""
    return prod(operands.output()) * prod(operands.input(1)[1:])


def _conv_transpose(operands: _Operands) -> int:
    """Weight is (in, out / groups, *kernel): each input element meets every weight of its channel."""
    return prod(operands.input(0)) * prod(operands.input(1)[1:])


def _einsum(operands: _Operands) -> int:
    """Product of two operands: one multiply-accumulate for each combination of all labels. A lone operand: 0."""
    equation = operands.text("equation", "").replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if len(terms) > 2 or "." in equation:
        raise operands.unsupported(f"equation '{equation}' is not a product of two operands with named axes")
    if len(terms) == 1:
        return 0
    size: dict[str, int] = {}
    for term, shape in zip(terms, operands.inputs(), strict=True):
        for label, extent in zip(term, shape, strict=True):
            size[label] = max(size.get(label, 1), extent)
    return prod(size.values())


def _attention(operands: _Operands) -> int:
    """Logits and weighted values of ONNX's own operator on (B, H, n, D), as all graphs of ours have it."""
    query, key, value = (operands.input(index) for index in range(3))
    if len(query) != 4:
        raise operands.unsupported("operands of three dimensions")
    return prod(query[:3]) * key[2] * (query[3] + value[3])


def _layer_norm(operands: _Operands) -> int:
    return _LAYER_NORM * prod(operands.input(0))


def _batch_norm(operands: _Operands) -> int:
    return _BATCH_NORM * prod(operands.input(0))


def _resize(operands: _Operands) -> int:
    return _TAPS[operands.text("mode", "nearest")] * prod(operands.output())


_COUNTERS = {
    "Attention": ("product", _attention),
    "MatMul": ("product", _matmul),
    "Gemm": ("product", _gemm),
    "Conv": ("product", _conv),
    "ConvTranspose": ("product", _conv_transpose),
    "Einsum": ("product", _einsum),
    "BatchNormalization": ("norm", _batch_norm),
    "LayerNormalization": ("norm", _layer_norm),
    "Resize": ("resize", _resize),
}
