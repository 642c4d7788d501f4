"""Which nodes of the bundle's graph a runtime's own nodes carry out, though it fused, renamed, inserted or split them.

ONNX Runtime: a node that it executes keeps the names of the values that it computes; what lies between those and its inputs,
and that no other executed node gives out, is what was fused into it. TensorRT: a layer names the ONNX nodes that it was made
from. What neither tells is placed by what reads it, and last by its neighbours in order of execution.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeexport.profile.executed_graph import GraphNode
from edgeexport.profile.traces import EngineLayer
from edgeexport.profile.work import GraphWork, NodeWork

__all__ = ["HOW", "Origin", "origins_from_engine_layers", "origins_from_graph"]

HOW = ("graph", "name", "neighbours", "none")
"""How an origin was found, the surest way first: by values or the runtime's own list; by the node's name; by what runs
before and after it; not at all."""

_NCHWC = "_nchwc"  # ONNX Runtime names a node in its blocked layout after the value that it computes
_FOREIGN = re.compile(r"\{ForeignNode\[(.+?)\.\.\.(.+?)\]\}")
_REFORMAT = re.compile(r"Reformatting CopyNode for .*? (?:to|from) ")


@dataclass(frozen=True)
class Origin:
    """What a node that a runtime executes comes from.

    Attributes:
        how: One of `HOW`.
        nodes: The graph's nodes that it carries out; empty where only its place is known.
        parts: The parts of the model that it belongs to; the first alone, unless ``nodes`` are of several.
    """

    how: str
    nodes: tuple[NodeWork, ...] = ()
    parts: tuple[str, ...] = field(default=())


_UNKNOWN = Origin("none")


def origins_from_graph(executed: Sequence[GraphNode], work: GraphWork) -> list[Origin]:
    """Origins of ONNX Runtime's nodes.

    Args:
        executed: The optimised graph's nodes (`edgeexport.profile.executed_graph.nodes_from_onnx`), in order of execution;
            nodes of a profile alone, without inputs and outputs, where there is no such file.
        work: Of the bundle's graph, in which calls of custom ops have bodies.
    """
    makers = {value: node for node in work.nodes for value in node.outputs}
    named = {node.name: node for node in work.nodes if not node.call}
    calls = {call.name: call for call in work.calls}
    claims = [_claimed(node, makers, named) for node in executed]
    exposed = {value for node in executed for value in (*node.inputs, *node.outputs)}
    exposed.update(value for values in claims for value in values)
    found: list[Origin] = []
    for node, claimed in zip(executed, claims, strict=True):
        if node.outputs:
            values = [value for value in node.outputs if value in makers]
            how, nodes = "graph", _covered([*values, *claimed], exposed, makers, calls)
        else:
            how, nodes = "name", tuple({makers[value].name: makers[value] for value in claimed}.values())
        found.append(Origin(how, nodes, _parts(nodes)) if nodes else _UNKNOWN)
    _place_by_readers(executed, found)
    return _placed_by_neighbours(found)


def origins_from_engine_layers(layers: Sequence[EngineLayer], work: GraphWork, *, plugins: bool) -> list[Origin]:
    """Origins of a TensorRT engine's layers.

    Args:
        layers: In order of execution; a layer that the inspector does not know has no ``nodes``, and is placed by its name.
        work: Of the bundle's graph.
        plugins: Whether the engine has the plugin library's layers, or the bodies of the custom ops.
    """
    order = list(work.with_plugins() if plugins else work.nodes)
    place = {node.name: index for index, node in enumerate(order)}
    bodies: dict[str, list[NodeWork]] = {}
    for node in order:
        bodies.setdefault(node.call or node.name, []).append(node)
    found = []
    for layer in layers:
        nodes = [node for name in layer.nodes for node in _named_nodes(name, order, place, bodies)]
        how = "graph"
        if not nodes:
            how = "name"
            nodes = [node for name in _names_in(layer.name, order, place) for node in bodies.get(name, ())]
        unique = tuple({node.name: node for node in nodes}.values())
        found.append(Origin(how, unique, _parts(unique)) if unique else _UNKNOWN)
    return _placed_by_neighbours(found)


def _claimed(node: GraphNode, makers: Mapping[str, NodeWork], named: Mapping[str, NodeWork]) -> tuple[str, ...]:
    """Values that a node computes by its name: a fusion is named after the first node in it."""
    value = node.name.removesuffix(_NCHWC)
    if value != node.name and value in makers:
        return (value,)
    origin = named.get(node.name) or named.get(node.name.split("/")[0])
    return () if origin is None else origin.outputs


def _covered(
    values: Iterable[str], exposed: set[str], makers: Mapping[str, NodeWork], calls: Mapping[str, NodeWork]
) -> tuple[NodeWork, ...]:
    """The nodes that compute ``values`` from values that are exposed."""
    found: dict[str, NodeWork] = {}
    pending = list(values)
    while pending:
        node = makers[pending.pop()]
        node = calls.get(node.call, node)
        if node.name in found:
            continue
        found[node.name] = node
        if "::" not in node.op_type:  # a body's inner values have other names in every runtime
            pending += [value for value in node.inputs if value in makers and value not in exposed]
    return tuple(found.values())


def _parts(nodes: Iterable[NodeWork]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.part for node in nodes))


def _place_by_readers(executed: Sequence[GraphNode], found: list[Origin]) -> None:
    """What computes values that the bundle's graph does not have belongs where they are read, or else where it reads."""
    readers: dict[str, list[int]] = {}
    makers: dict[str, int] = {}
    for index, node in enumerate(executed):
        for value in node.inputs:
            readers.setdefault(value, []).append(index)
        makers.update((value, index) for value in node.outputs)
    for index in reversed(range(len(executed))):
        if not found[index].parts:
            near = [other for value in executed[index].outputs for other in readers.get(value, ())]
            _place(found, index, near)
    for index, node in enumerate(executed):
        if not found[index].parts:
            _place(found, index, [makers[value] for value in node.inputs if value in makers])


def _place(found: list[Origin], index: int, near: Iterable[int]) -> None:
    parts = {found[other].parts[:1] for other in near}
    if len(parts) == 1 and () not in parts:
        found[index] = Origin("graph", (), next(iter(parts)))


def _placed_by_neighbours(found: Sequence[Origin]) -> list[Origin]:
    """What is still unknown, between two nodes of one part or at either end, belongs to that part."""
    after: list[str] = []
    part = ""
    for origin in reversed(found):
        after.append(part)
        part = origin.parts[0] if origin.parts else part
    result = []
    before = ""
    for origin, following in zip(found, reversed(after), strict=True):
        near = {part for part in (before, following) if part}
        if not origin.parts and len(near) == 1:
            origin = Origin("neighbours", (), tuple(near))
        before = origin.parts[-1] if origin.parts else before
        result.append(origin)
    return result


def _named_nodes(
    name: str, order: Sequence[NodeWork], place: Mapping[str, int], bodies: Mapping[str, list[NodeWork]]
) -> list[NodeWork]:
    """The node of that name, or a call's body."""
    return [order[place[name]]] if name in place else bodies.get(name, [])


def _names_in(layer: str, order: Sequence[NodeWork], place: Mapping[str, int]) -> list[str]:
    """Node names in a layer's name: joined by plus signs, a copy made for a node, or a range of nodes."""
    names: list[str] = []
    foreign = _FOREIGN.search(layer)
    if foreign and foreign[1] in place and foreign[2] in place:
        first, last = sorted((place[foreign[1]], place[foreign[2]]))
        return [node.call or node.name for node in order[first : last + 1]]
    for piece in _REFORMAT.sub("", layer).split(" + "):
        names.append(piece.strip())
    return names
