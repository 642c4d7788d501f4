"""Where the time goes, layer by layer: node times of a runtime as times of the model's blocks, heads and reduction steps.

The times of the parts add up to the measured total, to the nanosecond; what could not be placed is a part of its own,
'other'. Beside each part stands what it has to do: multiply-accumulates and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.backends.executed_graph import GraphNode
from edgeexport.backends.runner import NodeTime
from edgeexport.cost.work import OTHER, GraphWork, NodeWork, part_order, part_title
from edgeexport.profile.origins import HOW, Origin, origins_from_engine_layers, origins_from_graph
from edgeexport.profile.traces import EngineLayer, EngineLayers, trtexec_records

__all__ = [
    "ESTIMATED_ABOVE",
    "LAYERS_SCHEMA",
    "Attribution",
    "LayerTime",
    "attribution_from_engine",
    "attribution_from_onnxruntime",
    "engine_profile",
    "layers_from_engine_profile",
]

LAYERS_SCHEMA = "edgeexport.layers/1"
ESTIMATED_ABOVE = 0.25
"""Where more than this share of the time was divided between parts by estimate, the parts' times are called an estimate."""

_OWN_RECORD = "edgeexport"
_NS_PER_MS = 1_000_000
_MACS_PER_BYTE = {"onnxruntime": 4.0, "tensorrt": 100.0}
"""Products that take as long as one byte does, about: for dividing a fused layer's time between its parts alone."""


@dataclass(frozen=True)
class LayerTime:
    """One node or fused layer as the runtime executes it: its mean time per run, where it comes from, and its part's share.

    ``part_ns`` adds up to the whole time in nanoseconds.
    """

    name: str
    op_type: str
    ns: int
    origin: Origin
    part_ns: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        row: dict[str, Any] = {
            "name": self.name,
            "op": self.op_type,
            "ms": self.ns / _NS_PER_MS,
            "how": self.origin.how,
        }
        row["parts"] = {part: ns / _NS_PER_MS for part, ns in self.part_ns.items()}
        row["nodes"] = [node.name for node in self.origin.nodes]
        return row


@dataclass(frozen=True)
class Attribution:
    """A profile, divided between the parts of the model.

    Attributes:
        backend: Whose profile: 'onnxruntime' or 'tensorrt'.
        runs: That the times are the mean of.
        layers: In order of execution.
        unaccounted_ns: Of the measured total, what no layer took (the runtime between them).
        nodes: The work of the graph as it was executed.
        note: What else is to be said of the profile, such as that it is of another engine than it should be.
    """

    backend: str
    runs: int
    layers: tuple[LayerTime, ...]
    unaccounted_ns: int
    nodes: tuple[NodeWork, ...]
    note: str = ""

    @property
    def total_ns(self) -> int:
        """Time of one run with the profiler on."""
        return sum(layer.ns for layer in self.layers) + self.unaccounted_ns

    @property
    def parts_ns(self) -> dict[str, int]:
        """Time by part, in the order of the model. Adds up to ``total_ns``."""
        ns_of_part: dict[str, int] = {node.part: 0 for node in self.nodes}
        for layer in self.layers:
            for part, ns in layer.part_ns.items():
                ns_of_part[part] = ns_of_part.get(part, 0) + ns
        if self.unaccounted_ns:
            ns_of_part[OTHER] = ns_of_part.get(OTHER, 0) + self.unaccounted_ns
        return {part: ns_of_part[part] for part in sorted(ns_of_part, key=part_order)}

    def share(self, how: str) -> float:
        """Share of the total time whose origin was found that way (`edgeexport.profile.origins.HOW`)."""
        ns = sum(layer.ns for layer in self.layers if layer.origin.how == how)
        if how == "none":
            ns += self.unaccounted_ns
        return ns / self.total_ns if self.total_ns else 0.0

    @property
    def divided_share(self) -> float:
        """Share of the time of layers that carry out several parts, divided between them by estimate."""
        divided = sum(layer.ns for layer in self.layers if len(layer.part_ns) > 1)
        return divided / self.total_ns if self.total_ns else 0.0

    @property
    def provenance(self) -> str:
        """'measured', or 'estimate' where the runtime's layers are so large that much was divided by estimate."""
        return "estimate" if self.divided_share > ESTIMATED_ABOVE else "measured"

    def summary(self) -> dict[str, Any]:
        """Without the single layers, JSON-ready: what bench.json holds under ``layers``."""
        ns_of_part = self.parts_ns
        return {
            "schema": LAYERS_SCHEMA,
            "provenance": self.provenance,
            "method": self._method(),
            "backend": self.backend,
            "runs": self.runs,
            "total_ms": self.total_ns / _NS_PER_MS,
            "attributed_share": round(1 - self.share("none"), 6),
            "attributed_by": {how: round(self.share(how), 6) for how in HOW},
            "divided_share": round(self.divided_share, 6),
            "parts": [self._part(part, ns) for part, ns in ns_of_part.items()],
        }

    def as_dict(self) -> dict[str, Any]:
        """The summary and every layer, JSON-ready."""
        return {**self.summary(), "layers": [layer.as_dict() for layer in self.layers]}

    def _method(self) -> str:
        trust = "shares are to be trusted, the total is no latency"
        if self.provenance == "estimate":
            trust = f"{self.divided_share:.0%} of it was divided between parts by their work, so that shares are an estimate"
        text = f"mean of {self.runs} runs with the runtime's profiler on, which takes time of its own: {trust}"
        return f"{text}; {self.note}" if self.note else text

    def _part(self, part: str, ns: int) -> dict[str, Any]:
        nodes = [node for node in self.nodes if node.part == part]
        return {
            "part": part,
            "title": part_title(part),
            "ms": ns / _NS_PER_MS,
            "share": round(ns / self.total_ns, 6) if self.total_ns else 0.0,
            "macs": sum(node.product_macs for node in nodes),
            "bytes": sum(node.bytes for node in nodes),
            "nodes": len(nodes),
            "layers": sum(part in layer.part_ns for layer in self.layers),
        }


def attribution_from_onnxruntime(
    times: Sequence[NodeTime],
    work: GraphWork,
    executed: Sequence[GraphNode] = (),
    *,
    runs: int,
    total_ms: float | None = None,
) -> Attribution:
    """Divides ONNX Runtime's node times.

    Args:
        times: In order of execution.
        work: Of the bundle's graph.
        executed: Nodes of the graph that was executed (engine.onnx); without it, names and neighbours have to do.
        runs: That ``times`` are the mean of.
        total_ms: Measured time of a profiled run; None takes the sum of ``times``.
    """
    known: dict[str, list[GraphNode]] = {}
    for node in executed:
        known.setdefault(node.name, []).append(node)
    matched = [_next(known, time.name) or GraphNode(time.name, time.op_type) for time in times]
    # Nodes that were not timed still tell what reads and writes what.
    rest = [node for nodes in known.values() for node in nodes]
    origins = origins_from_graph([*matched, *rest], work)[: len(times)]
    return _attribution("onnxruntime", times, origins, work.nodes, runs, total_ms)


def attribution_from_engine(
    times: Sequence[NodeTime],
    work: GraphWork,
    engine: EngineLayers | None = None,
    *,
    plugins: bool,
    runs: int,
    total_ms: float | None = None,
    note: str = "",
) -> Attribution:
    """Divides a TensorRT engine's layer times. Documented, unrun.

    Args:
        times: Of the layers (`edgeexport.profile.traces.node_times_from_trtexec`, or TensorRT's IProfiler).
        work: Of the bundle's graph.
        engine: What the engine inspector says of a detailed build; without it, layer names have to do.
        plugins: Whether the engine has the plugin library's layers.
        runs, total_ms: As above.
        note: Of `Attribution`.
    """
    known: dict[str, list[EngineLayer]] = {}
    for layer in engine.layers if engine is not None else ():
        known.setdefault(layer.name, []).append(layer)
    matched = [_next(known, time.name) or EngineLayer(time.name, time.op_type, ()) for time in times]
    named = [
        NodeTime(time.name, time.op_type or layer.layer_type, time.ms)
        for time, layer in zip(times, matched, strict=True)
    ]
    origins = origins_from_engine_layers(matched, work, plugins=plugins)
    nodes = work.with_plugins() if plugins else work.nodes
    return _attribution("tensorrt", named, origins, nodes, runs, total_ms, note)


def engine_profile(attribution: Attribution) -> list[dict[str, Any]]:
    """Content of engine.profile.json: the records of `trtexec --exportProfile`, and one of ours behind them.

    Tools for trtexec's files pass over records that do not have a layer's keys, so they read this one too.
    """
    times = [NodeTime(layer.name, layer.op_type, layer.ns / _NS_PER_MS) for layer in attribution.layers]
    return [*trtexec_records(times, attribution.runs), {_OWN_RECORD: attribution.as_dict()}]


def layers_from_engine_profile(content: Any) -> dict[str, Any] | None:
    """The attribution in engine.profile.json's content; None where another tool wrote it."""
    records = content if isinstance(content, list) else []
    own = [record[_OWN_RECORD] for record in records if isinstance(record, dict) and _OWN_RECORD in record]
    return own[0] if own and isinstance(own[0], dict) else None


def _attribution(
    backend: str,
    times: Sequence[NodeTime],
    origins: Sequence[Origin],
    nodes: Sequence[NodeWork],
    runs: int,
    total_ms: float | None,
    note: str = "",
) -> Attribution:
    macs_per_byte = _MACS_PER_BYTE[backend]
    layers = []
    for time, origin in zip(times, origins, strict=True):
        ns = round(time.ms * _NS_PER_MS)
        weights = {part: 0.0 for part in origin.parts or (OTHER,)}
        for node in origin.nodes:
            weights[node.part] += node.bytes + node.product_macs / macs_per_byte
        layers.append(LayerTime(time.name, time.op_type, ns, origin, _divided(ns, weights)))
    timed_ns = sum(layer.ns for layer in layers)
    unaccounted = 0 if total_ms is None else max(round(total_ms * _NS_PER_MS) - timed_ns, 0)
    return Attribution(backend, runs, tuple(layers), unaccounted, tuple(nodes), note)


def _divided(ns: int, weights: Mapping[str, float]) -> dict[str, int]:
    """``ns`` in proportion to ``weights``, in whole nanoseconds whose sum is ``ns``."""
    total = sum(weights.values())
    if len(weights) == 1 or total <= 0:
        first, *others = weights
        return {first: ns, **dict.fromkeys(others, 0)}
    shares: dict[str, int] = {}
    given, passed = 0, 0.0
    for part, weight in weights.items():
        passed += weight
        reached = round(ns * passed / total)
        shares[part] = reached - given
        given = reached
    return shares


def _next(known: Mapping[str, list[Any]], name: str) -> Any:
    """Takes the first of the nodes called ``name`` that is left: equal names come in order of execution."""
    nodes = known.get(name)
    return nodes.pop(0) if nodes else None
