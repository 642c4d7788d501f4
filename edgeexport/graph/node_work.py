"""The work of every node of a bundle's graph: products, bytes by dtype, and the part of the model that it belongs to.

Counted in the graph in standard operators, whose every shape is known; values keep their names there, so that each node is
traced back to the node of model.onnx that it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from edgeexport.cost.kernels import VIEWS
from edgeexport.cost.work import OTHER, GraphWork, NodeWork
from edgeexport.errors import LintError
from edgeexport.graph.macs import NodeCost, graph_macs
from edgeexport.graph.node_parts import Scoped, parts_of_nodes
from edgeexport.graph.plugin_graph import BARE_OPS
from edgeexport.graph.plugin_steps import Step, plugin_steps

__all__ = ["graph_work"]

_GATHERING = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})
"""Of their first input they read what they give out."""

_Tensor = tuple[str, int]  # dtype, bytes


def graph_work(
    model: onnx.ModelProto, plain: onnx.ModelProto, recipe: Scoped, *, constant_nodes: bool = False
) -> GraphWork:
    """Counts a bundle's graph.

    Args:
        model: model.onnx: custom ops as calls, with the metadata of `edgeexport.graph.export`.
        plain: The same in standard operators only, shapes inferred (`edgeexport.graph.inline.inlined_model`).
        recipe: Tells which part of the model a module is.
        constant_nodes: Also nodes that depend on constants alone; TensorRT-RTX executes some of them.

    Raises:
        LintError: A shape is unknown, or a node holds a subgraph.
    """
    tensors = _tensors(plain.graph)
    constants = _constants(plain.graph)
    part_of = parts_of_nodes(model.graph, recipe)
    makers = {value: node for node in model.graph.node for value in node.output if value}
    counted = _counted(plain)
    running = [pair for pair in counted if constant_nodes or not set(filter(None, pair[0].output)) <= constants]
    origins = _origins([node for node, _ in running], makers)
    steps = plugin_steps(ir.from_proto(model))
    step_of = {node.name: step.name for step in steps for node in step.nodes}
    nodes = []
    for (node, cost), origin in zip(running, origins, strict=True):
        custom = origin is not None and origin.domain != ""
        name = node.name if origin is None or custom else origin.name
        reads, writes, weights = _traffic(node, tensors, constants)
        nodes.append(
            NodeWork(
                name=name or node.output[0],
                op_type=node.op_type,
                part=OTHER if origin is None else part_of[origin.output[0]],
                call=origin.name if origin is not None and custom else "",
                step=step_of.get(origin.name, "") if origin is not None else "",
                inputs=tuple(value for value in node.input if value and value not in constants),
                outputs=tuple(value for value in node.output if value),
                kind=cost.category if cost else "",
                macs=cost.macs if cost else 0,
                dtype=tensors[node.input[0]][0] if cost else "",
                reads=reads,
                writes=writes,
                weights=weights,
            )
        )
    called = [node for node in model.graph.node if node.domain]
    bodies: dict[str, list[NodeWork]] = {}
    members: dict[str, list[NodeWork]] = {}
    for item in nodes:
        bodies.setdefault(item.call, []).append(item)
        members.setdefault(item.step, []).append(item)
    calls = tuple(
        _call(node, part_of[node.output[0]], bodies.get(node.name, ()), tensors, constants) for node in called
    )
    joined = tuple(
        _call(
            _node_of(step), part_of[str(step.decider.outputs[0].name)], members.get(step.name, ()), tensors, constants
        )
        for step in steps
    )
    plugins = frozenset(node.name for node in called if node.op_type in BARE_OPS)
    return GraphWork(tuple(nodes), calls, plugins, joined)


def _node_of(step: Step) -> onnx.NodeProto:
    inputs, outputs = ([str(value.name) if value else "" for value in side] for side in (step.inputs, step.outputs))
    return helper.make_node(step.op_type, inputs, outputs, step.name, domain=step.decider.domain)


def _origins(running: list[onnx.NodeProto], makers: Mapping[str, onnx.NodeProto]) -> list[onnx.NodeProto | None]:
    """The node of model.onnx behind each plain node; None where nothing tells.

    What computes one of its values is that node. What computes none is inside the body of a custom op, or was put in by
    folding: it belongs where its value is read.
    """
    origins: list[onnx.NodeProto | None] = []
    readers: dict[str, onnx.NodeProto] = {}  # value -> origin of the first node that reads it
    for node in reversed(running):
        known = [makers[value] for value in node.output if value in makers]
        origin = known[0] if known else next((readers[value] for value in node.output if value in readers), None)
        origins.append(origin)
        if origin is not None:
            readers.update((value, origin) for value in node.input if value and value not in makers)
    return origins[::-1]


def _call(
    node: onnx.NodeProto,
    part: str,
    inside: Iterable[NodeWork],
    tensors: Mapping[str, _Tensor],
    constants: frozenset[str],
) -> NodeWork:
    """A custom op, or a step, as one node; ``inside`` are the nodes that it stands for."""
    reads, writes, weights = _traffic(node, tensors, constants)
    body = [item for item in inside if item.product_macs]
    return NodeWork(
        name=node.name,
        op_type=f"{node.domain}::{node.op_type}",
        part=part,
        inputs=tuple(value for value in node.input if value and value not in constants),
        outputs=tuple(value for value in node.output if value),
        kind="product" if body else "",
        macs=sum(item.product_macs for item in body),
        dtype=body[0].dtype if body else "",
        reads=reads,
        writes=writes,
        weights=weights,
    )


def _traffic(
    node: onnx.NodeProto, tensors: Mapping[str, _Tensor], constants: frozenset[str]
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Bytes by dtype: of what is read, written, and constant."""
    reads: dict[str, int] = {}
    writes: dict[str, int] = {}
    weights: dict[str, int] = {}
    if node.op_type in VIEWS:
        return reads, writes, weights
    # What a call gives out and nobody reads is folded away in the plain graph, and not written by a plugin either.
    written = [value for value in node.output if value in tensors]
    for value in written:
        _add(writes, tensors[value])
    for position, value in enumerate(node.input):
        if not value or value in node.input[:position]:
            continue
        if value not in tensors and node.domain:  # a constant that no body reads
            continue
        if value not in tensors:
            raise LintError(
                node.name or node.output[0],
                f"{node.op_type}: the shape of '{value}' is unknown or not constant",
                "fix the input shapes and run ONNX shape inference",
            )
        dtype, size = tensors[value]
        if node.op_type in _GATHERING and position == 0:
            size = min(size, sum(tensors[item][1] for item in written))
        _add(weights if value in constants else reads, (dtype, size))
    return reads, writes, weights


def _add(sizes: dict[str, int], tensor: _Tensor) -> None:
    dtype, size = tensor
    if size:
        sizes[dtype] = sizes.get(dtype, 0) + size


def _counted(plain: onnx.ModelProto) -> list[tuple[onnx.NodeProto, NodeCost | None]]:
    """All plain nodes, with the multiply-accumulates of those that have any.

    `graph_macs` keeps the graph's order, so that two nodes of one name are told apart.
    """
    costs = list(graph_macs(plain).nodes)
    counted: list[tuple[onnx.NodeProto, NodeCost | None]] = []
    for node in plain.graph.node:
        mine = bool(costs) and (costs[0].name, costs[0].op_type) == (node.name or node.output[0], node.op_type)
        counted.append((node, costs.pop(0) if mine else None))
    assert not costs, f"no node for {costs[0]}"
    return counted


def _tensors(graph: onnx.GraphProto) -> dict[str, _Tensor]:
    """dtype and bytes of every value of constant shape."""
    tensors = {tensor.name: _tensor(tensor.data_type, tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            tensors[value.name] = _tensor(tensor.elem_type, [dim.dim_value for dim in dims])
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    tensors[node.output[0]] = _tensor(attribute.t.data_type, attribute.t.dims)
    return tensors


def _tensor(data_type: int, dims: Iterable[int]) -> _Tensor:
    if data_type == TensorProto.BFLOAT16:
        return "bfloat16", 2 * prod(dims)
    dtype = helper.tensor_dtype_to_np_dtype(data_type)
    return dtype.name, dtype.itemsize * prod(dims)


def _constants(graph: onnx.GraphProto) -> frozenset[str]:
    """Values that are known before the input is."""
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or all(value in constants for value in node.input if value):
            constants.update(value for value in node.output if value)
    return frozenset(constants)
