"""Which nodes of the bundle's graph a runtime's own nodes carry out, though it fused, renamed, inserted or split them.

ONNX Runtime: a node that it executes keeps the names of the values that it computes; what lies between those and its inputs,
and that no other executed node gives out, is what was fused into it. TensorRT: a layer names the ONNX nodes that it was made
from; one that names a region by its first and last node alone is taken for all that stands between them in the graph, which is
an estimate. What neither tells is placed by what reads it, and last by its neighbours in order of execution.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeexport.backends.executed_graph import GraphNode
from edgeexport.cost.work import GraphWork, NodeWork
from edgeexport.profile.traces import EngineLayer

__all__ = ["HOW", "Origin", "origins_from_engine_layers", "origins_from_graph"]

HOW = ("graph", "name", "neighbours", "none")
"""How an origin was found, the surest way first: by values or the runtime's own list; by the node's name; by what runs
before and after it; not at all."""

_NCHWC = "_nchwc"  # ONNX Runtime names a node in its blocked layout after the value that it computes
_FOREIGN = re.compile(r"\{ForeignNode\[(.+)\]\}")
_REFORMAT = re.compile(r"Reformatting CopyNode for (Input|Output)?.*? (?:to|from) ")
_JOINED = re.compile(r" \+ |, ")


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
        executed: The optimised graph's nodes (`edgeexport.backends.executed_graph.nodes_from_onnx`), in order of execution;
            nodes of a profile alone, without inputs and outputs, where there is no such file.
        work: Of the bundle's graph, in which calls of custom ops have bodies.
    """
    makers = {value: node for node in work.nodes for value in node.outputs}
    named = {node.name: node for node in work.nodes if not node.call}
    calls = {call.name: call for call in work.calls}
    claims = [_claimed(node, makers, named) for node in executed]
    exposed = {value for node in executed for value in (*node.inputs, *node.outputs)}
    exposed.update(value for values in claims for value in values)
    origins: list[Origin] = []
    for node, claimed in zip(executed, claims, strict=True):
        if node.outputs:
            values = [value for value in node.outputs if value in makers]
            how, nodes = "graph", _covered([*values, *claimed], exposed, makers, calls)
        else:
            how, nodes = "name", tuple({makers[value].name: makers[value] for value in claimed}.values())
        origins.append(Origin(how, nodes, _parts(nodes)) if nodes else _UNKNOWN)
    _place_by_readers(executed, origins)
    return _placed_by_neighbours(origins)


def origins_from_engine_layers(layers: Sequence[EngineLayer], work: GraphWork, *, plugins: bool) -> list[Origin]:
    """Origins of a TensorRT engine's layers.

    Args:
        layers: In order of execution; a layer that the inspector does not know has no ``nodes``, and is placed by its name.
        work: Of the bundle's graph.
        plugins: Whether the engine has the plugin library's layers, or the bodies of the custom ops.
    """
    graph = _Places(work.with_plugins() if plugins else work.nodes)
    spans = [_span_of(layer, graph) for layer in layers]
    _close(spans, len(graph.order))
    origins = []
    for span in spans:
        unique = tuple({node.name: node for node in (graph.order[place] for place in span.places)}.values())
        origins.append(Origin(span.how, unique, _parts(unique)) if unique else _UNKNOWN)
    return _placed_by_neighbours(origins)


class _Places:
    """Where nodes stand in the graph, by their own name or that of the custom op whose body they belong to."""

    def __init__(self, nodes: Iterable[NodeWork]) -> None:
        self.order = tuple(nodes)
        self._of_node = {node.name: place for place, node in enumerate(self.order)}
        self._of_call: dict[str, list[int]] = {}
        for place, node in enumerate(self.order):
            self._of_call.setdefault(node.call or node.name, []).append(place)

    def named(self, name: str) -> list[int]:
        """The node of that name, or a call's body; empty for a name that is not the graph's.

        What model.trt.onnx has in place of a node is named after it: ``decode_head/ReduceMean/MatMul``.
        """
        while name:
            if name in self._of_node or name in self._of_call:
                return [self._of_node[name]] if name in self._of_node else self._of_call[name]
            name = name.rpartition("/")[0]
        return []

    def joined(self, names: str) -> list[int]:
        """Likewise of names joined by plus signs, or by commas in pointwise fusions: ``PWN(PWN(a), b)``."""
        if self.named(names):
            return self.named(names)
        pieces = [piece.strip().split("PWN(")[-1] for piece in _JOINED.split(names)]
        closed = [piece.rstrip(")") if piece.count(")") > piece.count("(") else piece for piece in pieces]
        return [place for piece in closed for place in self.named(piece)]


@dataclass
class _Span:
    """Places of a layer's nodes. Where ``region`` is given, they lie between these two, None for an end that is unknown."""

    how: str
    places: Sequence[int] = ()
    region: tuple[int | None, int | None] | None = None


def _span_of(layer: EngineLayer, graph: _Places) -> _Span:
    listed = [place for name in layer.nodes for place in graph.named(name)]
    if listed:
        return _Span("graph", listed)
    copy = _REFORMAT.match(layer.name)
    foreign = _FOREIGN.search(layer.name)
    if foreign is None:
        return _Span("name", graph.joined(layer.name[copy.end() :] if copy else layer.name))
    first, _, last = foreign[1].partition("...")
    starts, ends = graph.joined(first), graph.joined(last or first)
    if copy:  # for a region's first or last node, not for all of it
        return _Span("name", ends if copy[1] == "Output" else starts)
    if not last:
        return _Span("name", starts)
    return _Span("name", region=(min(starts, default=None), max(ends, default=None)))


def _close(spans: Sequence[_Span], count: int) -> None:
    """Fills regions. An end whose name TensorRT made up lies where the layer before or behind leaves off."""
    for span in spans:
        if span.region and None not in span.region:
            start, stop = sorted(place for place in span.region if place is not None)
            span.places = range(start, stop + 1)
    following = count
    limits = []
    for span in reversed(spans):
        limits.append(following)
        following = min(span.places, default=following)
    before = -1
    for span, behind in zip(spans, reversed(limits), strict=True):
        if span.region and None in span.region:
            start = before + 1 if span.region[0] is None else span.region[0]
            stop = behind - 1 if span.region[1] is None else span.region[1]
            known = [place for place in span.region if place is not None]
            span.places = range(start, stop + 1) if start <= stop else known
        before = max(span.places, default=before)


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
    covered: dict[str, NodeWork] = {}
    pending = list(values)
    while pending:
        node = makers[pending.pop()]
        node = calls.get(node.call, node)
        if node.name in covered:
            continue
        covered[node.name] = node
        if "::" not in node.op_type:  # a body's inner values have other names in every runtime
            pending += [value for value in node.inputs if value in makers and value not in exposed]
    return tuple(covered.values())


def _parts(nodes: Iterable[NodeWork]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.part for node in nodes))


def _place_by_readers(executed: Sequence[GraphNode], origins: list[Origin]) -> None:
    """What computes values that the bundle's graph does not have belongs where they are read, or else where it reads."""
    readers: dict[str, list[int]] = {}
    makers: dict[str, int] = {}
    for index, node in enumerate(executed):
        for value in node.inputs:
            readers.setdefault(value, []).append(index)
        makers.update((value, index) for value in node.outputs)
    for index in reversed(range(len(executed))):
        if not origins[index].parts:
            near = [other for value in executed[index].outputs for other in readers.get(value, ())]
            _place(origins, index, near)
    for index, node in enumerate(executed):
        if not origins[index].parts:
            _place(origins, index, [makers[value] for value in node.inputs if value in makers])


def _place(origins: list[Origin], index: int, near: Iterable[int]) -> None:
    parts = {origins[other].parts[:1] for other in near}
    if len(parts) == 1 and () not in parts:
        origins[index] = Origin("graph", (), next(iter(parts)))


def _placed_by_neighbours(origins: Sequence[Origin]) -> list[Origin]:
    """What is still unknown, between two nodes of one part or at either end, belongs to that part."""
    after: list[str] = []
    part = ""
    for origin in reversed(origins):
        after.append(part)
        part = origin.parts[0] if origin.parts else part
    result = []
    before = ""
    for origin, following in zip(origins, reversed(after), strict=True):
        near = {part for part in (before, following) if part}
        if not origin.parts and len(near) == 1:
            origin = Origin("neighbours", (), tuple(near))
        before = origin.parts[-1] if origin.parts else before
        result.append(origin)
    return result
