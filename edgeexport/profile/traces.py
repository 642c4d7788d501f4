"""Reads and writes what runtimes and their tools say of the time that each node took.

ONNX Runtime's profiler writes a list of events. TensorRT's `trtexec --exportProfile` writes a list of records, the same in
10.x and 11.x: first the number of runs, then one record per layer. Its engine inspector tells which nodes of the ONNX file a
layer was made from; what 10.x calls ``Bindings``, 11.x calls ``I/O Tensors``. (TensorRT's forms: documented, unrun here.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.backends.onnxruntime_profile import node_times_from_events
from edgeexport.backends.runner import NodeTime
from edgeexport.documents import parsed
from edgeexport.documents.traces import ENGINE_GRAPH, ENGINE_PROFILE, RUN_EVENTS, EngineGraph
from edgeexport.errors import BundleError

__all__ = [
    "EngineLayer",
    "EngineLayers",
    "engine_layers",
    "engine_layers_from_json",
    "node_times_from_onnxruntime",
    "node_times_from_trtexec",
    "onnx_names",
    "trtexec_records",
]

_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_TRUNCATED = " ... "


@dataclass(frozen=True)
class EngineLayer:
    """A layer of a TensorRT engine: its name, type, and the nodes of the ONNX file that it was made from."""

    name: str
    layer_type: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class EngineLayers:
    """What the engine inspector tells (engine.graph.json): layers in order of execution, the engine's inputs and outputs."""

    layers: tuple[EngineLayer, ...]
    tensors: tuple[str, ...]


def node_times_from_onnxruntime(text: str, *, skipped_runs: int = 0, where: str = "profile") -> list[NodeTime]:
    """Mean time of every node, in order of execution, from a file of ONNX Runtime's profiler.

    Raises:
        BundleError: It is no such file, or holds no run.
    """
    try:
        return node_times_from_events(parsed(text, RUN_EVENTS, where), skipped_runs=skipped_runs)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BundleError(where, f"is no profile of ONNX Runtime ({error!r})", "write it again") from None


def node_times_from_trtexec(text: str, where: str = "engine.profile.json") -> list[NodeTime]:
    """Mean time of every layer, in order of execution, from what `trtexec --exportProfile` wrote (TensorRT 8.x to 11.x).

    Records without a layer's time (the number of runs, what `edgeexport profile` adds) are passed over.

    Raises:
        BundleError: It is no such file.
    """
    times: list[NodeTime] = []
    runs = 0
    for record in parsed(text, ENGINE_PROFILE, where):
        runs = record.get("count", runs)
        if "name" not in record:
            continue
        if "averageMs" in record:
            ms = record["averageMs"]
        elif "timeMs" in record and runs:
            ms = record["timeMs"] / runs
        else:
            raise _damaged(where, f"layer {record['name']!r} has neither averageMs nor timeMs and a count")
        times.append(NodeTime(record["name"], "", ms))
    return times


def trtexec_records(times: Sequence[NodeTime], runs: int) -> list[dict[str, Any]]:
    """The records that `trtexec --exportProfile` would write of these times, so that tools for its files read ours."""
    total = sum(time.ms for time in times)
    records: list[dict[str, Any]] = [{"count": runs}]
    records += [
        {
            "name": time.name,
            "timeMs": time.ms * runs,
            "averageMs": time.ms,
            "percentage": 100 * time.ms / total if total else 0.0,
        }
        for time in times
    ]
    return records


def engine_layers_from_json(text: str, where: str = "engine.graph.json") -> EngineLayers:
    """Reads the engine inspector's JSON of a DETAILED build.

    Raises:
        BundleError: It is none, or of an engine that was built without detailed information.
    """
    return engine_layers(parsed(text, ENGINE_GRAPH, where), where)


def engine_layers(content: EngineGraph, where: str = "engine.graph.json") -> EngineLayers:
    """As `engine_layers_from_json`, of content that has been read."""
    layers = [layer for layer in content["Layers"] if isinstance(layer, dict)]
    if len(layers) < len(content["Layers"]):
        raise BundleError(
            where, "names its layers only, expected their details", "build with profiling verbosity DETAILED"
        )
    tensors: list[Any] = content.get("I/O Tensors", content.get("Bindings", []))
    return EngineLayers(
        tuple(
            EngineLayer(
                str(layer.get("Name", "")), str(layer.get("LayerType", "")), onnx_names(str(layer.get("Metadata", "")))
            )
            for layer in layers
        ),
        tuple(str(item.get("Name", "")) if isinstance(item, dict) else str(item) for item in tensors),
    )


def onnx_names(metadata: str) -> tuple[str, ...]:
    """Names of ONNX nodes in a layer's metadata: ``[ONNX Layer: name | caller (Function)]``, once each.

    A node inside a function's body stands for the outermost call, which is what the ONNX file has a node for. Long metadata
    are cut in the middle: an entry that the cut goes through is left out.
    """
    names: dict[str, None] = {}
    for entry in _ONNX_LAYER.findall(metadata):
        if _TRUNCATED in entry:
            continue
        name, *callers = entry.split(" | ")
        if callers:
            name = callers[-1].rpartition(" (")[0] or callers[-1]
        names[name.strip()] = None
    return tuple(names)


def _damaged(where: str, problem: str) -> BundleError:
    return BundleError(where, problem, "profile again, or export it again from TensorRT")
