"""Choosing a graph's outputs, and removing what nothing needs any more."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edgeexport.graph.skeleton import used_names

__all__ = ["select_outputs"]


def select_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Keeps the named graph outputs in this order, and only nodes, weights and shapes that they need; in place.

    Args:
        model: Without nested graphs, as every graph that passes the lint.
        names: Outputs of the graph, each once.

    Raises:
        KeyError: ``names`` has one that is no output.
    """
    graph = model.graph
    outputs = {value.name: value for value in graph.output}
    chosen = [outputs[name] for name in names]
    del graph.output[:]
    graph.output.extend(chosen)
    # An output that is none any more may still be read, and then its shape is known from nowhere else.
    described = {value.name for value in graph.value_info}
    graph.value_info.extend(value for name, value in outputs.items() if name not in {*names, *described})
    needed = set(names)
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(name for name in node.input if name)  # "" stands for an input or output left out
    kept = list(reversed(nodes))
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
    used = used_names(graph) | {output for node in graph.node for output in node.output}
    for group in (graph.initializer, graph.value_info):
        for index in range(len(group) - 1, -1, -1):
            if group[index].name not in used:
                del group[index]
