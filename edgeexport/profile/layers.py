"""Profiles a bundle's layers: runs the runtime's profiler, divides the times, and writes engine.profile.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeexport.backends.contract import EngineRecord
from edgeexport.backends.executed_graph import GraphNode, nodes_from_onnx
from edgeexport.backends.runner import Runner
from edgeexport.backends.separate import SeparateRunner
from edgeexport.bundle import Bundle
from edgeexport.bundle.files import disk_errors, write_file
from edgeexport.cost.work import GraphWork, read_work
from edgeexport.device.remains import temporary_folder
from edgeexport.documents import read_document
from edgeexport.documents.traces import ENGINE_GRAPH
from edgeexport.profile.attribution import (
    Attribution,
    attribution_from_engine,
    attribution_from_onnxruntime,
    engine_profile,
)
from edgeexport.profile.traces import engine_layers

__all__ = ["PROFILE_FILE", "measure_layers", "write_engine_profile"]

PROFILE_FILE = "engine.profile.json"

_ENGINE_GRAPH = "engine.graph.json"
_MODEL = "model.onnx"


def measure_layers(
    bundle: Bundle,
    runner: Runner,
    record: EngineRecord | None,
    image: NDArray,
    extra: Mapping[str, NDArray] | None = None,
    *,
    runs: int = 10,
) -> Attribution | None:
    """Times a bundle's layers with its runtime's profiler, and divides the time between the parts of the model.

    Args:
        bundle: What runs.
        runner: Its engine (`edgeexport.backends.engine.load_engine`), or ``model.onnx`` in ONNX Runtime.
        record: The engine's; None where ``runner`` runs model.onnx.
        image, extra: One batch.
        runs: To take the mean of.

    Returns:
        None where the bundle has no work.json, so that nothing is known of its parts.

    Raises:
        BundleError: work.json, or the engine's own description, is damaged.
    """
    work = read_work(bundle.path, bundle.part)
    if work is None:
        return None
    if record is None:
        return _measure_model(bundle, work, image, extra, runs)
    times = runner.node_times(image, extra, runs)
    if record.backend == "onnxruntime":
        engines = [record] if record.policy is None else [record.policy, record]
        nodes = [node for own in engines for node in nodes_from_onnx(bundle.path / next(iter(own.files)))]
        return attribution_from_onnxruntime(times, work, nodes, runs=runs)
    description = bundle.path / _ENGINE_GRAPH
    engine = None
    if description.is_file():
        engine = engine_layers(read_document(description, ENGINE_GRAPH), str(description))
    plugins = bool(record.options.get("plugins", True)) and record.plugins_sha256 is not None
    note = getattr(runner, "profile_note", "")  # TensorRtRunner's
    return attribution_from_engine(times, work, engine, plugins=plugins, runs=runs, note=note)


def write_engine_profile(bundle_dir: Path, attribution: Attribution) -> Path:
    """Writes engine.profile.json into a bundle folder, whole or not at all, and returns its path.

    Raises:
        BuildError: It cannot be written.
    """
    path = bundle_dir / PROFILE_FILE
    lines = ",\n".join(" " + _line(record) for record in engine_profile(attribution))
    with disk_errors(path, "free some space"):
        write_file(path, f"[\n{lines}\n]\n")
    return path


def _measure_model(
    bundle: Bundle, work: GraphWork, image: NDArray, extra: Mapping[str, NDArray] | None, runs: int
) -> Attribution:
    """The graph as ONNX Runtime optimises it here is saved for a moment: it tells what was fused into what."""
    from edgeexport.backends.onnxruntime import OnnxRuntimeRunner

    with temporary_folder() as folder:
        nodes: list[GraphNode] = []
        runners: list[Runner] = []
        for part in filter(None, (bundle.policy, bundle)):
            optimised = folder / f"{part.part}.onnx"
            OnnxRuntimeRunner(part.path / part.graph(_MODEL), save_to=optimised)
            runners.append(OnnxRuntimeRunner(optimised, optimised=True))
            nodes += nodes_from_onnx(optimised)
        *ahead, runner = runners
        if bundle.policy is not None:
            runner = SeparateRunner(ahead[0], runner, bundle.policy.outputs[0].name)
        return attribution_from_onnxruntime(runner.node_times(image, extra, runs), work, nodes, runs=runs)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False)
