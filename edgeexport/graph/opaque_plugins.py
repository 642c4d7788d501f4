"""The graph for plugins as a compiler sees it to whom a plugin is opaque: what they compute is given, what they read is asked.

Compiled, it has exactly the kernels around the plugins: nothing can be fused across one, and what a plugin reads has to be
in memory, in the order of its dimensions.
"""

from __future__ import annotations

import onnx
from onnx import helper

from edgeexport.cost.composed_plan import PluginCall
from edgeexport.cost.kernel_plan import Tensor, row_major
from edgeexport.errors import BuildError
from edgeexport.ops import DOMAIN

__all__ = ["opaque_plugins"]


def opaque_plugins(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[PluginCall, ...]]:
    """Takes the plugins' nodes out of a graph.

    Args:
        model: `edgeexport.graph.plugin_graph.plugin_model`'s; unchanged, weights are shared where they lie apart and copied
            otherwise.

    Returns:
        The graph without them, in which every value that a plugin writes is an input and every one that it reads an output;
        and the plugins' calls in the graph's order.

    Raises:
        BuildError: The shape of what a plugin computes is unknown.
    """
    opaque = onnx.ModelProto()
    opaque.CopyFrom(model)
    graph = opaque.graph
    types = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name for tensor in graph.initializer}
    ends = {value.name for value in graph.output}
    read = ends | {name for node in graph.node for name in node.input}
    plugins = [node for node in graph.node if node.domain == DOMAIN]
    nodes = [node for node in graph.node if node.domain != DOMAIN]
    given = [name for node in plugins for name in node.output if name in read]
    asked = dict.fromkeys(name for node in plugins for name in node.input if name and name not in weights)
    computed = {name for node in nodes for name in node.output}
    outputs = [value.name for value in graph.output if value.name in computed]
    outputs += [name for name in asked if name in computed and name not in outputs]
    unknown = [name for name in (*given, *asked, *outputs) if not _is_known(types.get(name))]
    if unknown:
        raise BuildError(
            f"value '{unknown[0]}'",
            "its shape or type is unknown, expected for all that a plugin reads or writes",
            "report it with build.log",
        )
    calls = tuple(
        PluginCall(
            node.name or node.output[0],
            node.op_type,
            tuple(_tensor(types[name]) for name in dict.fromkeys(node.input) if name in asked),
            tuple(_tensor(types[name]) for name in node.output if name in read),
        )
        for node in plugins
    )
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    ins = [_copy(types[name]) for name in given]
    outs = [_copy(types[name]) for name in outputs]
    graph.input.extend(ins)
    del graph.output[:]
    graph.output.extend(outs)
    known = {*given, *outputs}
    infos = [_copy(value) for value in graph.value_info if value.name not in known]
    del graph.value_info[:]
    graph.value_info.extend(infos)
    _drop_unread(graph)
    return opaque, calls


def _is_known(value: onnx.ValueInfoProto | None) -> bool:
    tensor = None if value is None else value.type.tensor_type
    return (
        tensor is not None
        and tensor.elem_type != 0
        and tensor.HasField("shape")
        and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    )


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)
    return Tensor(value.name, helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape, row_major(shape))


def _copy(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto.FromString(value.SerializeToString())


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Removes nodes whose results only a plugin's unread outputs led to."""
    needed = {value.name for value in graph.output}
    alive = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            alive.append(_node(node))
    del graph.node[:]
    graph.node.extend(reversed(alive))


def _node(node: onnx.NodeProto) -> onnx.NodeProto:
    return onnx.NodeProto.FromString(node.SerializeToString())
