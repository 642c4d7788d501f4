"""Softmax over two classes, of which the first is read, as the sigmoid of their difference: one column of a product.

The difference of the weights is taken in float64; results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeexport.graph.rewriting import Place, constant_of, is_kept, put_in_place, shape_of

__all__ = ["subtract_second_class"]


@dataclass(frozen=True)
class _Logits:
    """``rows`` (..., C) times ``weight`` (C, 2) plus ``bias`` (2,); ``product`` is the node."""

    product: ir.Node
    rows: ir.Value
    weight: NDArray
    bias: NDArray


def subtract_second_class(program: ir.Model, kept: Collection[str] = ()) -> int:
    """Rewrites every softmax over the two results of a product with a bias, in place.

    Args:
        program: A float32 graph; sorted nodes without nested graphs, with the shape of every value.
        kept: Values that have to stay, beside the graph's outputs.

    Returns:
        The number of softmaxes that went.
    """
    graph = program.graph
    found = [node for node in graph if node.op_type == "Softmax" and not node.domain]
    return sum(_subtracted(graph, node) for node in found if not is_kept(node.outputs, kept))


def _subtracted(graph: ir.Graph, softmax: ir.Node) -> bool:
    shape = shape_of(softmax.outputs[0])
    readers = [use.node for use in softmax.outputs[0].uses()]
    last = softmax.attributes.get_int("axis", -1) in (-1, len(shape) - 1)
    if shape[-1:] != (2,) or not last or not readers or not all(_takes_first(node, len(shape)) for node in readers):
        return False
    logits = _logits(softmax.inputs[0])
    if logits is None:
        return False
    place, wanted = Place(graph, softmax), (*shape[:-1], 1)
    difference = logits.weight.astype(np.float64)[:, :1] - logits.weight[:, 1:]
    weight = place.constant("weight", difference.astype(np.float32))
    bias = place.constant("bias", (logits.bias.astype(np.float64)[:1] - logits.bias[1:]).astype(np.float32))
    product = place.op("MatMul", [logits.rows, weight], "difference", wanted)
    total = place.op("Add", [product, bias], "biased", wanted)
    for value in (product, total):  # as the product was
        maker = value.producer()
        assert maker is not None
        maker.metadata_props.update(logits.product.metadata_props)
    share = place.op("Sigmoid", [total], "Sigmoid", wanted)
    for reader in readers:
        put_in_place(reader.outputs[0], share)
        graph.remove(reader, safe=True)
    graph.remove(softmax, safe=True)
    return True


def _takes_first(node: ir.Node, rank: int) -> bool:
    """Whether a Slice takes the first of two along the last axis."""
    if node.op_type != "Slice" or len(node.inputs) < 4:
        return False
    starts, ends, axes = (constant_of(value) for value in node.inputs[1:4])
    if starts is None or ends is None or axes is None:
        return False
    return starts.tolist() == [0] and ends.tolist() in ([1], [-1]) and axes.tolist() in ([-1], [rank - 1])


def _logits(value: ir.Value | None) -> _Logits | None:
    added = None if value is None else value.producer()
    if added is None or added.op_type != "Add":
        return None
    product, bias = (None if added.inputs[0] is None else added.inputs[0].producer()), constant_of(added.inputs[1])
    if product is None or product.op_type != "MatMul" or bias is None or bias.shape != (2,):
        return None
    weight, rows = constant_of(product.inputs[1]), product.inputs[0]
    return None if weight is None or weight.ndim != 2 or rows is None else _Logits(product, rows, weight, bias)
