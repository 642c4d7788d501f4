"""Which nodes of a graph compute in float16: the policy of torch's autocast, with every decision left in float32.

In float16: products with weights and their biases, attention (queries times keys, scale and bias, softmax, times values),
and what lies between them on float16 values alone (GELU, ReLU, a gate). In float32: norms, the residual stream, reductions,
custom ops, and whatever a decision or an output of the graph is computed from, back to the nearest product with weights or
norm: similarities, confidences, sizes, scores. What only moves values has the dtype of what it moves.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence, Set
from fnmatch import fnmatchcase
from typing import TypeGuard

import onnx
import onnx_ir as ir

from edgeexport.errors import UsageError, nearest_hint
from edgeexport.ops import DOMAIN

__all__ = ["DECIDING", "HALF", "MOVING", "NORMS", "WEIGHTED", "half_nodes", "is_float", "keep_options", "node_label"]

HALF = ir.DataType.FLOAT16

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

_PATTERNS = 4

_UNARY = frozenset({"Clip", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
_BINARY = frozenset({"Add", "Div", "Mul", "Sub"})


def is_float(value: ir.Value | None) -> TypeGuard[ir.Value]:
    """Whether ``value`` is there and float32."""
    return value is not None and value.dtype == ir.DataType.FLOAT


def node_label(node: ir.Node | onnx.NodeProto) -> str:
    """A node's name, by which messages and ``--keep-fp32`` know it; its first result's, where it has none."""
    return node.name or str(node.outputs[0].name if isinstance(node, ir.Node) else node.output[0])


def keep_options(nodes: Iterable[str]) -> str:
    """The options that keep the results of nodes in float32; beyond a few, numbers in names become ``*``."""
    patterns = list(dict.fromkeys(nodes))
    if len(patterns) > _PATTERNS:
        patterns = list(dict.fromkeys(re.sub(r"\d+", "*", name) for name in patterns))
    options = " ".join(f"--keep-fp32 {shlex.quote(pattern)}" for pattern in patterns)
    return f"keep {'these' if len(patterns) > 1 else 'this'} in float32: {options}"


def half_nodes(graph: ir.Graph, outside: Set[ir.Value], keep_fp32: Sequence[str] = ()) -> frozenset[ir.Node]:
    """The nodes that compute in float16.

    Args:
        graph: Sorted, without nested graphs; custom ops as calls, and the type of every float32 value.
        outside: Values that somebody outside reads: graph outputs, and inner values that a runner may ask for.
        keep_fp32: Patterns (``*``, ``?``, ``[...]``) of nodes whose results stay in float32, and are read in float32: a
            value that float16 cannot hold, and what makes something smaller of it.

    Raises:
        UsageError: A pattern fits no node.
    """
    full = _kept_full(graph, keep_fp32)
    products = _products(graph, outside)
    decided = _decided(graph, outside, products)
    half = (products | _attention(graph, products)) - decided - full
    for node in graph:
        if node not in full and _follows(node, half) and (node not in decided or node.op_type in MOVING):
            half.add(node)
    for node in reversed(graph):  # what moves float32 to float16 nodes alone moves half the bytes
        if node not in full and _serves(node, half, outside):
            half.add(node)
    return frozenset(half)


def _kept_full(graph: ir.Graph, patterns: Sequence[str]) -> set[ir.Node]:
    """Nodes whose names fit a pattern, and those that read their results, also when these were only moved."""
    unused = set(patterns)

    def fits(name: str) -> bool:
        fitting = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
        unused.difference_update(fitting)
        return bool(fitting)

    kept = {value for value in graph.inputs if fits(value.name or "")}
    full: set[ir.Node] = set()
    for node in graph:
        fitting, reads = fits(node_label(node)), not kept.isdisjoint(node.inputs)
        if fitting or (reads and node.op_type in MOVING):
            kept.update(node.outputs)
        if fitting or reads:
            full.add(node)
    if unused:
        pattern = min(unused)
        hint = nearest_hint(pattern, [node_label(node) for node in graph])
        raise UsageError(f"--keep-fp32 {pattern}", "fits the name of no node of the graph", hint[:200])
    return full


def _products(graph: ir.Graph, outside: Set[ir.Value]) -> set[ir.Node]:
    """Products with weights, of two axes if they are matrices, and the biases added to them."""
    weights = set(graph.initializers.values())
    found: set[ir.Node] = set()
    for node in graph:
        if node.op_type in MOVING and node.inputs[:1] and node.inputs[0] in weights:
            weights.update(node.outputs)
        elif node.domain == "" and node.op_type in WEIGHTED and weights.intersection(node.inputs[:2]):
            if node.op_type == "MatMul" and min(map(_rank, node.inputs)) > 2:  # attention by constant queries
                continue
            found.add(node)
            found.update(_bias(node, outside))
    return found


def _rank(value: ir.Value | None) -> int:
    return 0 if value is None or value.shape is None else len(value.shape)


def _bias(product: ir.Node, outside: Set[ir.Value]) -> Iterator[ir.Node]:
    """The addition of a bias to a product of matrices; other operators hold theirs."""
    result = product.outputs[0]
    readers = result.consumers()
    if product.op_type != "MatMul" or len(result.uses()) != 1 or result in outside:
        return
    other = [value for value in readers[0].inputs if value is not None and value is not result]
    if readers[0].op_type == "Add" and other and other[0].is_initializer():
        assert other[0].shape is not None
        if all(extent == 1 for extent in other[0].shape[:-1]):  # per channel; positions and the like are no bias
            yield readers[0]


def _decided(graph: ir.Graph, outside: Set[ir.Value], products: set[ir.Node]) -> set[ir.Node]:
    """What decisions and outputs are computed from, back to the nearest product with weights or norm."""
    waiting = list(outside)
    for node in graph:
        if node.domain == DOMAIN or node.op_type in DECIDING:
            waiting += filter(is_float, node.inputs)
    found: set[ir.Node] = set()
    while waiting:
        maker = waiting.pop().producer()
        if maker is None or maker in found or maker in products or maker.op_type in NORMS:
            continue
        found.add(maker)
        waiting += filter(is_float, maker.inputs)
    return found


def _attention(graph: ir.Graph, products: set[ir.Node]) -> set[ir.Node]:
    """Softmax with the product of two computed values before it and the one behind it, and what lies between."""
    found: set[ir.Node] = set()
    for node in graph:
        if node.op_type != "Softmax":
            continue
        before = _scores(node.inputs[0], products)
        uses = node.outputs[0].uses()
        behind = {use.node for use in uses if use.node.op_type == "MatMul" and use.idx == 0} - products
        if before and behind:
            found |= {node, *before, *behind}
    return found


def _scores(value: ir.Value | None, products: set[ir.Node]) -> set[ir.Node]:
    """From attention's logits back to queries times keys; empty where there is no such product."""
    node = None if value is None else value.producer()
    if node is None or node in products:
        return set()
    if node.op_type == "MatMul":
        return {node}
    if node.op_type in _BINARY:
        for operand in node.inputs:
            if before := _scores(operand, products):
                return {node, *before}
    return set()


def _follows(node: ir.Node, half: Set[ir.Node]) -> bool:
    """Whether a node works on float16 values alone, so that float32 would add nothing."""
    read: Sequence[ir.Value | None]
    if node.domain:
        return False
    if node.op_type in MOVING:
        read = _moved(node)
    elif node.op_type in _UNARY:
        read = node.inputs[:1]
    elif node.op_type in _BINARY:
        read = [value for value in node.inputs if not _is_scalar(value)]
    else:
        return False
    return bool(read) and all(value is not None and value.producer() in half for value in read)


def _serves(node: ir.Node, half: Set[ir.Node], outside: Set[ir.Value]) -> bool:
    """Whether a node moves float32 values that only float16 nodes read."""
    if node.domain or node.op_type not in _WHOLE or not _moved(node) or not outside.isdisjoint(node.outputs):
        return False
    uses = [use for value in node.outputs for use in value.uses()]
    return bool(uses) and all(use.node in half for use in uses)


def _moved(node: ir.Node) -> list[ir.Value]:
    """The float32 values that a node of `MOVING` gives out again."""
    return [*filter(is_float, node.inputs if node.op_type == "Concat" else node.inputs[:1])]


def _is_scalar(value: ir.Value | None) -> bool:
    """Whether ``value`` is a constant of one element."""
    constant = value.const_value if value is not None and value.is_initializer() else None
    return constant is not None and constant.size == 1
