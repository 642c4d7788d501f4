"""ArgMax beside the maximum as the least index among the largest: a comparison that joins the maximum's kernel.

Exact, ties included: ArgMax gives the first of equals, and so does the least index.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeexport.graph.rewriting import Place, put_in_place, shape_of

__all__ = ["compare_for_first_largest"]


def compare_for_first_largest(program: ir.Model) -> int:
    """Rewrites every ArgMax of what a ReduceMax over the same axis reads too, in place.

    Args:
        program: Sorted nodes without nested graphs, with the shape of every value.

    Returns:
        The number of ArgMax that went.
    """
    graph = program.graph
    found = [node for node in graph if node.op_type == "ArgMax" and not node.domain]
    return sum(_compared(graph, node) for node in found)


def _compared(graph: ir.Graph, node: ir.Node) -> bool:
    read = node.inputs[0]
    shape = shape_of(read)
    attributes = node.attributes
    first = not attributes.get_int("select_last_index", 0)
    if read is None or not shape or not first or not any(use.node.op_type == "ReduceMax" for use in read.uses()):
        return False
    axis = attributes.get_int("axis", 0) % len(shape)
    count = shape[axis]
    single = (*shape[:axis], 1, *shape[axis + 1 :])
    place = Place(graph, node)
    axes = place.constant("axes", [axis])
    index = np.arange(count, dtype=np.float32).reshape([-1 if at == axis else 1 for at in range(len(shape))])
    largest = place.op("ReduceMax", [read, axes], "largest", single, keepdims=1)
    is_largest = place.op("Equal", [read, largest], "is_largest", shape, ir.DataType.BOOL)
    beyond = place.constant("none", np.float32(count))
    chosen = place.op("Where", [is_largest, place.constant("index", index), beyond], "indices", shape)
    result = shape_of(node.outputs[0])
    least = place.op("ReduceMin", [chosen, axes], "least", result, keepdims=attributes.get_int("keepdims", 1))
    put_in_place(node.outputs[0], place.op("Cast", [least], "Cast", result, ir.DataType.INT64, to=ir.DataType.INT64))
    graph.remove(node, safe=True)
    return True
