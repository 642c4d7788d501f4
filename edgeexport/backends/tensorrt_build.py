"""Builds a TensorRT engine from an ONNX graph: parser, settings, timing cache, and the description of its layers.

The engine is strongly typed: the graph says every precision. TF32 is off, which TensorRT has on by default: 'fp32' means FP32
products, as those that decide which tokens stay need them; speed is what FP16 is for. Two engines are built: the one that
runs, and a second one with DETAILED information, which tells its layers and is the one that the profiler runs: of an engine
without it the profiler reports whole fused regions, one row for hundreds of nodes. It takes the first one's timings from the
cache, and with them its kernels.

Deep-learning accelerators: NVIDIA documents them with strongly typed networks for TensorRT 11.4.1 with JetPack 7.2.2 alone; up
to 10.7 the documented way are builder flags, which a strongly typed network forbids. Layers that they do not take run on the
GPU without a word from the build: how many are counted in its log.

Inner outputs (token decisions, scores at low resolution) are outputs of the engine, so that the engine that is timed is the
one that is verified. Decisions are results of TopK or of a plugin, which are in memory anyway; scores end a matrix product,
which may not be fused with what reads them: some megabytes, or with the original head, which resizes all classes, 157 MB that
ArgMax would have read from memory all the same. Timing does not copy them to the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.backends.graph_outputs import appended_outputs
from edgeexport.backends.layer_types import layers_by_type
from edgeexport.backends.tensorrt_api import (
    DETAILED,
    DLA,
    GPU_FALLBACK,
    JSON,
    LAYER_NAMES_ONLY,
    TF32,
    WORKSPACE,
    TensorRt,
)
from edgeexport.backends.tensorrt_load import PlanLoader
from edgeexport.backends.tensorrt_log import EngineLog, logger_for
from edgeexport.backends.tensorrt_plugins import PluginLibrary, load_plugins
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.documents import parsed
from edgeexport.documents.traces import ENGINE_GRAPH
from edgeexport.errors import BuildError, BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BuildRequest", "BuiltPlan", "build_plan"]

_MIB = 1 << 20
_EMPTIED = ("Failed to deserialize timing cache", "timing cache will not be used")  # TensorRT-RTX logs both


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        graph: ONNX file.
        inner_outputs: Values of it that become outputs, behind its own.
        workspace_mib: Limit of scratch memory; None leaves it to TensorRT.
        dla_core: Accelerator to use; None uses the GPU alone.
        plugin_library: With the plugins of the graph; None for one in standard operators.
        timing_cache: Content of an earlier one; empty for none.
    """

    graph: Path
    inner_outputs: tuple[TensorInfo, ...] = ()
    workspace_mib: int | None = None
    dla_core: int | None = None
    plugin_library: PluginLibrary | None = None
    timing_cache: bytes = b""


@dataclass(frozen=True)
class BuiltPlan:
    """What came out.

    Attributes:
        plan: The serialized engine.
        timing_cache: To be kept; empty where TensorRT gives none.
        cache_note: Why the earlier cache was not used; empty if it was, or there was none.
        description: JSON of the engine inspector; empty where there is none.
        description_note: Why not.
        detailed: The second engine, which the description is of and the profiler runs; empty where there is no description.
        layers_by_device: How many layers are on the accelerator ('dla') and on the GPU ('gpu'); None where none was asked
            for, or TensorRT does not tell.
        layers_by_type: dtype -> layers that give it out; None where TensorRT does not tell.
    """

    plan: bytes
    timing_cache: bytes
    cache_note: str
    description: str
    description_note: str
    detailed: bytes = b""
    layers_by_device: dict[str, int] | None = None
    layers_by_type: dict[str, int] | None = None


def build_plan(trt: TensorRt, request: BuildRequest, log: EngineLog, on_stage: Callable[[str], None]) -> BuiltPlan:
    """Builds the engine, and a second one that describes it.

    Raises:
        BuildError: TensorRT refuses the graph (the message names the node), or gives no engine.
        BundleError: The plugin library cannot be loaded.
        UsageError: There is no such accelerator.
    """
    logger = logger_for(trt.module, log)
    builder = trt.started("Builder", logger, log.errors)
    _check_dla(builder, request.dla_core)
    trt.module.init_libnvinfer_plugins(logger, "")
    start = len(log.lines)
    library = request.plugin_library
    if library is not None:
        load_plugins(builder.get_plugin_registry(), library.path, library.ops, lambda: log.complaints(start))
    on_stage(f"TensorRT {trt.version} parses and builds {request.graph.name}; this takes minutes")
    plan, cache, note = _serialized(trt, builder, logger, request, request.timing_cache, LAYER_NAMES_ONLY, log)
    placed = log.layers_by_device(start)
    on_stage(f"TensorRT {trt.version} builds a second engine, for the description and the profile of the layers")
    detailed = b""
    try:
        detailed, _, _ = _serialized(trt, builder, logger, request, cache, DETAILED, log)
        description, why = described(trt, detailed, request, log)
    except (BuildError, BundleError) as error:  # the engine that runs is there: a description is worth no failure
        description, why = "", f"{error.where} {error.problem}"
    if not description:  # nothing would tell what its layers are made from
        detailed = b""
    if request.dla_core is None:
        placed = None
    elif placed is None and description:
        placed = _described_places(description)
    return BuiltPlan(plan, cache, note, description, why, detailed, placed, layers_by_type(description))


def described(trt: TensorRt, plan: bytes, request: BuildRequest, log: EngineLog) -> tuple[str, str]:
    """The engine inspector's JSON of a DETAILED engine and ''; or '' and why there is none.

    Raises:
        BuildError, BundleError: As `PlanLoader` does.
    """
    library = request.plugin_library
    loader = PlanLoader(
        trt,
        log,
        library=None if library is None else library.path,
        ops=() if library is None else library.ops,
        dla_core=request.dla_core,
    )
    engine, why = loader.engine(plan)
    if engine is None:
        return "", f"the second engine does not load: {why}"
    text = engine.create_engine_inspector().get_engine_information(trt.value(JSON))
    return (text, "") if text else ("", "the engine inspector gave nothing")


def _described_places(description: str) -> dict[str, int] | None:
    """As `EngineLog.layers_by_device`, by the types of the layers; None where the inspector's JSON has none."""
    try:
        layers = parsed(description, ENGINE_GRAPH, "engine inspector")["Layers"]
        kinds = [layer["LayerType"].lower() for layer in layers if isinstance(layer, dict)]
    except BundleError:
        return None
    on_accelerator = sum("dla" in kind for kind in kinds)
    return {"dla": on_accelerator, "gpu": len(kinds) - on_accelerator}


def _serialized(
    trt: TensorRt, builder: Any, logger: Any, request: BuildRequest, cache: bytes, verbosity: str, log: EngineLog
) -> tuple[bytes, bytes, str]:
    """One engine, the timing cache after it, and why ``cache`` was not used."""
    network = builder.create_network(trt.network_flags)
    parser = trt.module.OnnxParser(network, logger)  # it holds the weights, and so has to outlive the build
    start = len(log.lines)
    parsed = parser.parse(request.graph.read_bytes() + appended_outputs(request.inner_outputs), str(request.graph))
    if not parsed or parser.num_errors:
        raise _refused(trt, parser, request.graph, log.errors(start))
    config = _config(trt, builder, request, verbosity)
    note = _use_cache(config, cache, log)
    start = len(log.lines)
    try:
        memory = builder.build_serialized_network(network, config)
    except Exception as error:  # MemoryError, and RuntimeError from within TensorRT
        raise _no_engine(trt, request, f"{log.errors(start)} {error}".strip()) from error
    if memory is None:
        raise _no_engine(trt, request, log.errors(start))
    kept = config.get_timing_cache()
    return bytes(memory), b"" if kept is None else bytes(kept.serialize()), note


def _config(trt: TensorRt, builder: Any, request: BuildRequest, verbosity: str) -> Any:
    """The settings, without an optimisation profile, for shapes are fixed, and without precisions, which the graph says."""
    config = builder.create_builder_config()
    config.clear_flag(trt.value(TF32))
    config.profiling_verbosity = trt.value(verbosity)
    if request.workspace_mib is not None:
        config.set_memory_pool_limit(trt.value(WORKSPACE), request.workspace_mib * _MIB)
    if request.dla_core is not None:
        config.default_device_type = trt.value(DLA)
        config.DLA_core = request.dla_core
        config.set_flag(trt.value(GPU_FALLBACK))
    return config


def _use_cache(config: Any, cache: bytes, log: EngineLog) -> str:
    """Gives the builder a timing cache to fill, an earlier one if it takes that; returns why it did not.

    TensorRT refuses one of another version or device. Of a damaged one it makes an empty one, and says so in its log; what
    else it warns of meanwhile (lazy loading of CUDA, deprecations) has nothing to do with the cache.
    """
    note = ""
    if cache:
        start = len(log.lines)
        try:
            if config.set_timing_cache(config.create_timing_cache(cache), ignore_mismatch=False):
                emptied = any(words in message for _, message in log.lines[start:] for words in _EMPTIED)
                return log.complaints(start) if emptied else ""
            note = log.complaints(start) or "TensorRT refused it: it is of another version or device"
        except Exception as error:  # pybind11 raises TypeError where TensorRT gave no cache
            note = " ".join(str(error).split())
    # A refused cache may have been left in place.
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return note


def _check_dla(builder: Any, core: int | None) -> None:
    if core is not None and core >= builder.num_DLA_cores:
        offered = builder.num_DLA_cores
        available = f"there are {offered} (0 to {offered - 1})" if offered else "there is none"
        raise UsageError(
            f"dla_core = {core}",
            f"TensorRT offers no such deep-learning accelerator on this machine: {available}",
            "leave it out to use the GPU; TensorRT offers it up to 10.7, and from 11.4.1 with JetPack 7.2.2 on",
        )


def _refused(trt: TensorRt, parser: Any, graph: Path, logged: str) -> BuildError:
    remedy = "`edgeexport lint` checks a graph for TensorRT; a bundle for --target cpu needs none"
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    for error in errors:
        name, operator = (_text(error, entry) for entry in ("node_name", "node_operator"))
        if name or operator or error.node() >= 0:
            what = f"node {name!r}" if name else f"node {error.node()}"
            where = f"{graph}: {what}" + (f" ({operator})" if operator else "")
            return BuildError(where, f"TensorRT {trt.version} refuses it: {_line(error.desc())}", remedy)
    reasons = "; ".join(_line(error.desc()) for error in errors) or logged or "no reason given"
    return BuildError(str(graph), f"TensorRT {trt.version} does not parse it: {reasons}", remedy)


def _no_engine(trt: TensorRt, request: BuildRequest, logged: str) -> BuildError:
    limit = "" if request.workspace_mib is None else f" within {request.workspace_mib} MiB of workspace"
    return BuildError(
        str(request.graph),
        f"TensorRT {trt.version} gave no engine{limit}: {_line(logged) or 'no reason given'}",
        "where it ran out of memory, stop other programs, raise or leave out --workspace, or use a smaller batch; "
        "otherwise the message names the layer",
    )


def _text(error: Any, entry: str) -> str:
    return str(getattr(error, entry)()) if hasattr(error, entry) else ""


def _line(text: str) -> str:
    return " ".join(text.split())
