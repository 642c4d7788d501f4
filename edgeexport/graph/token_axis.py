"""Rows (B N, C) as tokens (B, N, C) again, from one reshape to the next: a compiler copies what changes its number of axes.

ONNX Runtime on a CPU is faster with rows, so that hosts export those (see `edgeexport.hosts.timm_vit.walk`). Exact.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod

import onnx_ir as ir

from edgeexport.graph.rewriting import Place, constant_of, is_kept, rank_of, shape_of

__all__ = ["restore_token_axis"]

_BY_ELEMENT = frozenset({"Add", "Div", "Gelu", "Identity", "Mul", "Relu", "Sigmoid", "Sub", "Tanh"})

_Tokens = dict[ir.Value, ir.Value]
"""Rows -> the same as tokens."""


def restore_token_axis(program: ir.Model, kept: Collection[str] = ()) -> int:
    """Gives rows their batch and token axes back, in place, as far as nodes work on every row alike.

    Nodes on tokens are put beside those on rows and take their names; rows that nobody reads any more are left for removal.

    Args:
        program: A float32 graph; sorted nodes without nested graphs, with the shape of every value.
        kept: Values that have to keep their shape, beside the graph's outputs.

    Returns:
        The number of nodes that work on tokens instead.
    """
    tokens: _Tokens = {}
    count = 0
    for node in list(program.graph):
        if node.op_type == "Reshape":
            _reshaped(program.graph, node, tokens, stays=is_kept(node.outputs, kept))
        elif node.domain or is_kept(node.outputs, kept):
            continue
        elif node.inputs and node.inputs[0] in tokens and _fits(node, tokens):
            _put_beside(program.graph, node, tokens)
            count += 1
    return count


def _reshaped(graph: ir.Graph, node: ir.Node, tokens: _Tokens, *, stays: bool) -> None:
    read, result = node.inputs[0], node.outputs[0]
    before, after = shape_of(read), shape_of(result)
    assert read is not None
    if read in tokens:  # its elements lie as they did
        if after == shape_of(tokens[read]) and not stays:
            result.replace_all_uses_with(tokens[read])
        else:
            node.replace_input_with(0, tokens[read])
    elif (
        not stays
        and len(before) > 2
        and len(after) == 2
        and before[0] * before[1] == after[0]
        and prod(before[2:]) == after[1]
    ):
        wanted = (before[0], before[1], after[1])
        place = Place(graph, node)
        tokens[result] = (
            read if before == wanted else place.op("Reshape", [read, place.constant("to", wanted)], "tokens", wanted)
        )


def _fits(node: ir.Node, tokens: _Tokens) -> bool:
    """Whether a node treats every row alike, and all that it reads is rows of the same tokens, or constant."""
    axes = shape_of(tokens[node.inputs[0]])[:2] if node.inputs[0] is not None else ()
    others = [value for value in node.inputs[1:] if value is not None]
    if node.op_type in _BY_ELEMENT:
        constants = [value for value in others if value not in tokens]
        return all(constant_of(value) is not None and rank_of(value) < 2 for value in constants) and all(
            shape_of(tokens[value])[:2] == axes for value in others if value in tokens
        )
    if any(constant_of(value) is None for value in others):
        return False
    attributes = node.attributes
    if node.op_type == "LayerNormalization":
        return len(node.outputs) == 1 and attributes.get_int("axis", -1) in (-1, 1)
    if node.op_type == "Split":
        return attributes.get_int("axis", 0) in (-1, 1)
    if node.op_type == "Gemm":
        plain = attributes.get_float("alpha", 1.0) == attributes.get_float("beta", 1.0) == 1.0
        return plain and not attributes.get_int("transA", 0) and all(rank_of(value) < 2 for value in others[1:])
    return node.op_type == "MatMul" and rank_of(others[0]) == 2


def _put_beside(graph: ir.Graph, node: ir.Node, tokens: _Tokens) -> None:
    axes = shape_of(tokens[node.inputs[0]])[:2] if node.inputs[0] is not None else ()
    inputs = [tokens.get(value, value) if value is not None else None for value in node.inputs]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    op_type, added = node.op_type, None
    if node.op_type == "Gemm":
        weight = inputs[1]
        assert weight is not None
        if attributes.get("transB", 0):
            inputs[1] = Place(graph, node).transposed("columns", weight)
        op_type, attributes, added = "MatMul", {}, inputs[2] if len(inputs) > 2 else None
        inputs = inputs[:2]
    elif "axis" in attributes:
        attributes["axis"] = 2
    outputs = [_beside(value, axes) for value in node.outputs]
    new = ir.node(
        op_type, inputs, attributes, outputs=outputs, name=node.name, metadata_props=dict(node.metadata_props)
    )
    graph.insert_before(node, new)
    if added is not None:
        total = _beside(node.outputs[0], axes)
        outputs[0].name = f"{total.name}/product"
        bias = ir.node(
            "Add",
            [outputs[0], added],
            outputs=[total],
            name=f"{node.name}/bias",
            metadata_props=dict(node.metadata_props),
        )
        graph.insert_before(node, bias)
        outputs = [total]
    node.name = f"{node.name}/rows"
    tokens.update(zip(node.outputs, outputs, strict=True))


def _beside(value: ir.Value, axes: tuple[int, ...]) -> ir.Value:
    shape = ir.Shape((*axes, shape_of(value)[-1]))
    return ir.Value(name=f"{value.name}/tokens", shape=shape, type=value.type)
