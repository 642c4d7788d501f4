"""The nodes of a host whose model is a graph already, put in place of the stand-ins that an export shows.

Nodes and values of the file keep their names; where the export uses one of them for something else, the export's is renamed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx
from onnx import helper

from edgeexport.graph.export import SCOPE_KEY, scope_of
from edgeexport.hosts.host import Walk
from edgeexport.hosts.piece import STAND_IN, Piece

__all__ = ["put_pieces_in"]


def put_pieces_in(model: onnx.ModelProto, walk: Walk) -> None:
    """Replaces every stand-in, in place; a graph without any stays as it is."""
    graph = model.graph
    if not any(node.domain == STAND_IN for node in graph.node):
        return
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    kept = {value.name for value in (*graph.input, *graph.output)}
    renamed: dict[str, str] = {}
    own = {name: f"export/{name}" for name in _names(graph) if name not in kept}
    _rename(graph, own)
    shapes |= {own[name]: shape for name, shape in shapes.items() if name in own}
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    told: dict[str, onnx.ValueInfoProto] = {}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.domain != STAND_IN:
            nodes.append(node)
            continue
        attributes = {item.name: _value(item) for item in node.attribute}
        piece = walk.piece(node.op_type, attributes, list(node.input), shapes[_before(node.input[0], renamed)])
        _apart(piece, kept - {*walk.output_names, *walk.input_names})
        for name, stands_for in zip(node.output, piece.outputs, strict=False):
            renamed[name] = stands_for
        nodes += _scoped(piece.nodes, scope_of(node))
        constants |= piece.constants
        told |= _infos(piece)
    moved = {value.name: renamed[value.name] for value in graph.output if value.name in renamed}
    for name, source in moved.items():
        if name != source:
            nodes.append(helper.make_node("Identity", [source], [name], f"{name}/Identity"))
    del graph.node[:]
    graph.node.extend(_told_apart(nodes))
    graph.initializer.extend(constants.values())
    made = {name for node in nodes for name in node.output}
    infos = {value.name: value for value in graph.value_info if value.name in made} | told
    ends = {value.name for value in (*graph.input, *graph.output)}
    del graph.value_info[:]
    graph.value_info.extend(value for name, value in infos.items() if name not in ends and name in made)
    imports = [item for item in model.opset_import if item.domain != STAND_IN]
    del model.opset_import[:]
    model.opset_import.extend(imports)


def _apart(piece: Piece, taken: Collection[str]) -> None:
    """Calls what is of the host, and called as an output of a reduction, otherwise."""
    names = {name: f"host/{name}" for name in {*piece.shapes, *piece.constants} if name in taken}
    for node in piece.nodes if names else ():
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for name in names.keys() & piece.constants.keys():
        tensor = onnx.TensorProto()
        tensor.CopyFrom(piece.constants.pop(name))
        tensor.name = names[name]
        piece.constants[tensor.name] = tensor
    for values in (piece.shapes, piece.dtypes):
        for name in names.keys() & values.keys():
            values[names[name]] = values.pop(name)  # type: ignore[assignment]
    piece.outputs = [names.get(name, name) for name in piece.outputs]


def _before(name: str, renamed: dict[str, str]) -> str:
    """What the export called a value."""
    return next((old for old, new in renamed.items() if new == name), name)


def _names(graph: onnx.GraphProto) -> list[str]:
    return [*(name for node in graph.node for name in node.output), *(tensor.name for tensor in graph.initializer)]


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)


def _value(attribute: onnx.AttributeProto) -> object:
    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _scoped(nodes: Iterable[onnx.NodeProto], scope: str) -> list[onnx.NodeProto]:
    result = []
    for node in nodes:
        del node.metadata_props[:]
        node.metadata_props.add(key=SCOPE_KEY, value=scope)
        result.append(node)
    return result


def _infos(piece: Piece) -> dict[str, onnx.ValueInfoProto]:
    return {
        name: helper.make_tensor_value_info(name, piece.dtypes[name], shape)
        for name, shape in piece.shapes.items()
        if name not in piece.inputs
    }


def _told_apart(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Every node under a name of its own."""
    taken: set[str] = set()
    for node in nodes:
        name, count = node.name or node.op_type, 1
        while node.name in taken or not node.name:
            count += 1
            node.name = f"{name}_{count}"
        taken.add(node.name)
    return nodes
