"""Attention logits averaged over heads as one product over all channels: what a mask head gives out beside its attention.

The mean over heads of q_h k_h is the product of whole rows, divided by the number of heads. Read apart from the attention's own
logits, it leaves those to a fused kernel. The sum has another order, so that results differ by rounding.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeexport.graph.rewriting import Place, constant_of, put_in_place, shape_of

__all__ = ["join_mask_products"]


def join_mask_products(program: ir.Model) -> int:
    """Rewrites every mean over the heads of queries times keys, in place.

    Args:
        program: Sorted nodes without nested graphs, with the shape of every value; attention logits as
            `edgeexport.tokens.attention.CrossAttention` exports them.

    Returns:
        The number of means that went.
    """
    graph = program.graph
    means = [node for node in graph if node.op_type == "ReduceMean" and not node.domain]
    return sum(_joined(graph, mean) for mean in means)


def _joined(graph: ir.Graph, mean: ir.Node) -> bool:
    logits = mean.inputs[0]
    axes = constant_of(mean.inputs[1]) if len(mean.inputs) > 1 else None
    product = None if logits is None else logits.producer()
    over_heads = axes is not None and axes.tolist() == [1] and mean.attributes.get_int("keepdims", 1) == 0
    if product is None or product.op_type != "MatMul" or not over_heads:
        return False
    query, scale = _scaled(product.inputs[0])
    queries, keys = _rows(query, [0, 2, 1, 3]), _rows(product.inputs[1], [0, 2, 3, 1])
    if queries is None or keys is None:
        return False
    heads = shape_of(product.inputs[0])[1]
    batch, tokens, width = shape_of(keys)
    place = Place(graph, mean)
    factor = place.constant("scale", np.float32(scale / heads))
    scaled = place.op("Mul", [queries, factor], "scaled", shape_of(queries))
    columns = place.op("Transpose", [keys], "columns", (batch, width, tokens), perm=[0, 2, 1])
    joined = place.op("MatMul", [scaled, columns], "MatMul", shape_of(mean.outputs[0]))
    put_in_place(mean.outputs[0], joined)
    graph.remove(mean, safe=True)
    return True


def _scaled(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """What is multiplied by a constant, and that."""
    node = None if value is None else value.producer()
    if (
        node is not None
        and node.op_type == "Mul"
        and (factor := constant_of(node.inputs[1])) is not None
        and factor.size == 1
    ):
        return node.inputs[0], float(factor.ravel()[0])
    return value, 1.0


def _rows(value: ir.Value | None, order: list[int]) -> ir.Value | None:
    """What was cut into heads: (B, n, C)."""
    turned = None if value is None else value.producer()
    if turned is None or turned.op_type != "Transpose" or list(turned.attributes.get_ints("perm") or ()) != order:
        return None
    cut = turned.inputs[0].producer() if turned.inputs[0] is not None else None
    if cut is None or cut.op_type != "Reshape" or len(shape_of(cut.inputs[0])) != 3:
        return None
    (batch, tokens, width), (_, _, heads, depth) = shape_of(cut.inputs[0]), shape_of(cut.outputs[0])
    return (
        cut.inputs[0] if shape_of(cut.outputs[0]) == (batch, tokens, heads, depth) and heads * depth == width else None
    )
