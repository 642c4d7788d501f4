"""What a graph computes from weights alone, computed once at build time: a decoder's first queries, pooled positions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from edgeexport.device.plain_session import plain_session
from edgeexport.graph.rewriting import remove_unused
from edgeexport.graph.weights_apart import WEIGHTS_FOLDER, program_of

__all__ = ["constant_values", "fold_constants"]

_GROWTH = 2
"""A folded value may have this many times the elements of what it is computed from; copies for a batch stay nodes."""


def fold_constants(program: ir.Model, kept: Collection[str] = ()) -> int:
    """Replaces values that no input changes by initializers of the same names, in place.

    ONNX Runtime computes them, so that its results stay bit for bit what they were. Runtimes for GPUs leave most of this work
    in the compiled graph, for every image anew.

    Args:
        program: Sorted nodes without nested graphs, with the shape of every value.
        kept: Values that have to stay results of nodes, beside the graph's outputs.

    Returns:
        The number of nodes that went.
    """
    graph = program.graph
    constant = _constant_nodes(graph, kept)
    read = {
        value: None
        for node in graph
        if node not in constant
        for value in node.inputs
        if value is not None and value.producer() in constant
    }
    if not read:
        return 0
    values = [*read]
    for value, array in zip(values, _computed(program, values), strict=True):
        folded = ir.Value(name=value.name, shape=ir.Shape(array.shape), type=value.type, const_value=ir.tensor(array))
        value.replace_all_uses_with(folded)
        value.name = f"{value.name}/computed"  # the name is free for the initializer
        graph.register_initializer(folded)
    before = len(graph)
    remove_unused(program, kept)
    return before - len(graph)


def constant_values(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, NDArray]:
    """Values that no input of a complete model changes."""
    program = program_of(model)
    made = {value.name: value for node in program.graph for value in node.outputs}
    values = [made[name] for name in names]
    return dict(zip(names, _computed(program, values), strict=True)) if values else {}


def _constant_nodes(graph: ir.Graph, kept: Collection[str]) -> dict[ir.Node, int]:
    """Nodes that read constants alone, with the elements of the weights behind them."""
    constant: dict[ir.Node, int] = {}
    for node in graph:
        read = [value for value in node.inputs if value is not None]
        outside = any(value.is_graph_output() or value.name in kept for value in node.outputs)
        if node.domain or not read or outside:
            continue
        sources = []
        for value in read:
            maker = value.producer()
            if maker in constant:
                sources.append(constant[maker])
            elif value.is_initializer() and value.const_value is not None:
                sources.append(value.const_value.size)
            else:
                break
        else:
            size = sum(sources)
            if all(_elements(value) <= _GROWTH * size for value in node.outputs):
                constant[node] = size
    return constant


def _elements(value: ir.Value) -> float:
    shape = value.shape
    if shape is None or not shape.is_static():
        return float("inf")
    return prod(shape.numpy())


def _computed(program: ir.Model, values: list[ir.Value]) -> list[NDArray]:
    graph = ir.convenience.extract(program.graph, [], values)
    model = ir.to_proto(ir.Model(graph, ir_version=program.ir_version, functions=tuple(program.functions.values())))
    session = plain_session(model.SerializeToString(), program.metadata_props.get(WEIGHTS_FOLDER))
    return list(session.run([value.name for value in values], {}))
