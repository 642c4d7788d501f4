"""A scatter that fills every place as a gather by the inverse permutation, which one sort gives.

ONNX forbids an index twice where nothing is reduced, so that as many indices as places are a permutation. Exact.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeexport.graph.rewriting import Place, constant_of, put_in_place, shape_of

__all__ = ["sort_for_scatters"]


def sort_for_scatters(program: ir.Model) -> int:
    """Rewrites scatters of constants (B, N) by N indices along the last axis, in place.

    Args:
        program: Sorted nodes without nested graphs, with the shape of every value.

    Returns:
        The number of scatters that went.
    """
    graph = program.graph
    found = [node for node in graph if node.op_type == "ScatterElements" and not node.domain]
    return sum(_sorted(graph, node) for node in found)


def _sorted(graph: ir.Graph, node: ir.Node) -> bool:
    data, index, written = node.inputs
    values = constant_of(written)
    shape = shape_of(index)
    rows = values is not None and len(shape) == 2 and bool((values == values[:1]).all())
    whole = shape_of(data) == shape and node.attributes.get_int("axis", 0) in (1, -1)
    if index is None or values is None or not rows or not whole or "reduction" in node.attributes:
        return False
    place = Place(graph, node)
    key = place.op("Cast", [index], "key", shape, to=ir.DataType.FLOAT)
    name = f"{place.base}/inverse"
    sorted_key, inverse = (
        ir.Value(name=label, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        for label, dtype in ((f"{place.base}/sorted", ir.DataType.FLOAT), (name, ir.DataType.INT64))
    )
    topk = ir.node(
        "TopK",
        [key, place.constant("count", [shape[1]])],
        {"axis": 1, "largest": 0, "sorted": 1},
        outputs=[sorted_key, inverse],
        name=name,
        metadata_props=place.metadata,
    )
    graph.insert_before(node, topk)
    dtype = node.outputs[0].dtype
    assert dtype is not None
    if np.array_equal(values[0], np.arange(shape[1])):
        result = place.op("Cast", [inverse], "Cast", shape, dtype, to=dtype)
    else:
        result = place.op("Gather", [place.constant("row", values[0]), inverse], "Gather", shape, dtype, axis=0)
    put_in_place(node.outputs[0], result)
    graph.remove(node, safe=True)
    return True
