"""A mixed-precision graph executed in float32 throughout: how its float16 values are seen where a runtime hides them.

ONNX Runtime computes in float32 between casts on a CPU, so that a value beyond float16's range is infinite only on the device.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper

from edgeexport.graph.half_precision_policy import MOVING

__all__ = ["computed_in_half", "half_values", "twin_in_float32"]


def half_values(graph: onnx.GraphProto) -> set[str]:
    """Names of the float16 values and weights; the type of every value has to be known."""
    half = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    known = (*graph.value_info, *graph.output)
    return half | {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT16}


def computed_in_half(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Nodes that compute a float16 value, or round to one, with its name; what only moves values is left out."""
    half = half_values(graph)
    for node in graph.node:
        if node.op_type not in MOVING:
            yield from ((node, name) for name in node.output if name in half)


def twin_in_float32(model: onnx.ModelProto, *, rounded: bool) -> onnx.ModelProto:
    """The same graph with every value in float32, under the same names; ``model`` is unchanged, its weights are copied.

    Args:
        model: Of mixed precision, with the type of every value.
        rounded: Round the result of every float16 node to float16, infinities and subnormals included: float16's own arithmetic
            with products summed in float32. False rounds the weights alone.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    half = half_values(graph)
    computed = {name for _, name in computed_in_half(graph)} if rounded else set()
    for value in (*graph.value_info, *graph.output):
        if value.name in half:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    weights = {tensor.name for tensor in graph.initializer} & half
    nodes = [_cast(name, f"{name}/widened", TensorProto.FLOAT) for name in sorted(weights)]
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in weights:
                node.input[index] = f"{name}/widened"
        if node.op_type == "Cast" and half.intersection((*node.input, *node.output)):
            del node.attribute[:]
            node.op_type = "Identity"
        made = [name for name in node.output if name in computed]
        for index, name in enumerate(node.output):
            if name in computed:
                node.output[index] = f"{name}/exact"
        nodes.append(node)
        for name in made:
            nodes.append(_cast(f"{name}/exact", f"{name}/rounded", TensorProto.FLOAT16))
            nodes.append(_cast(f"{name}/rounded", name, TensorProto.FLOAT))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return result


def _cast(value: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [value], [result], name=f"{result}/twin", to=to)
