"""Builds a TensorRT engine from an ONNX graph: parser, settings, timing cache, and the description of its layers.

The engine is strongly typed: the graph says every precision. TF32 is off, which TensorRT has on by default: 'fp32' means FP32
products, as those that decide which tokens stay need them; speed is what FP16 is for. Polygraphy, NVIDIA's own tool, sets what
all versions have in common. Two engines are built: the one that runs, and a second one with DETAILED information, which is
asked for its layers and thrown away; it takes the first one's timings from the cache, and with them its kernels.

Inner outputs (token decisions, scores at low resolution) are outputs of the engine, so that the engine that is timed is the
one that is verified. Decisions are results of TopK or of a plugin, which are in memory anyway; scores end a matrix product,
which may not be fused with what reads them: some megabytes, or with the original head, which resizes all classes, 157 MB that
ArgMax would have read from memory all the same. Timing does not copy them to the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.backends.graph_outputs import TensorInfo, appended_outputs
from edgeexport.backends.tensorrt_api import (
    DETAILED,
    DLA,
    GPU_FALLBACK,
    JSON,
    LAYER_NAMES_ONLY,
    WORKSPACE,
    TensorRt,
)
from edgeexport.backends.tensorrt_log import EngineLog, logger_for
from edgeexport.backends.tensorrt_plugins import PluginLibrary, load_plugins
from edgeexport.errors import BuildError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BuildRequest", "BuiltPlan", "build_plan"]

_MIB = 1 << 20
_SILENT = 1000  # above every severity of Polygraphy's logger, which writes to standard output


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        graph: ONNX file.
        inner_outputs: Values of it that become outputs, behind its own.
        workspace_mib: Limit of scratch memory; None leaves it to TensorRT.
        dla_core: Accelerator to use; None uses the GPU alone.
        library: Plugin library; None for a graph in standard operators.
        timing_cache: Content of an earlier one; empty for none.
    """

    graph: Path
    inner_outputs: tuple[TensorInfo, ...] = ()
    workspace_mib: int | None = None
    dla_core: int | None = None
    library: PluginLibrary | None = None
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
    """

    plan: bytes
    timing_cache: bytes
    cache_note: str
    description: str
    description_note: str


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
    if request.library is not None:
        start = len(log.lines)
        load_plugins(
            builder.get_plugin_registry(), request.library.path, request.library.ops, lambda: log.complaints(start)
        )
    on_stage(f"TensorRT {trt.version} parses and builds {request.graph.name}; this takes minutes")
    plan, cache, note = _serialized(trt, builder, logger, request, request.timing_cache, LAYER_NAMES_ONLY, log)
    on_stage(f"TensorRT {trt.version} builds a second engine, for the description of the layers")
    try:
        detailed, _, _ = _serialized(trt, builder, logger, request, cache, DETAILED, log)
        description, why = described(trt, logger, detailed, request.library, log)
    except BuildError as error:  # the engine that runs is there: a description is worth no failure
        description, why = "", f"{error.where} {error.problem}"
    return BuiltPlan(plan, cache, note, description, why)


def described(
    trt: TensorRt, logger: Any, plan: bytes, library: PluginLibrary | None, log: EngineLog
) -> tuple[str, str]:
    """The engine inspector's JSON and ''; or '' and why there is none."""
    start = len(log.lines)
    runtime = trt.started("Runtime", logger, log.errors)
    if library is not None:
        load_plugins(runtime.get_plugin_registry(), library.path, library.ops, lambda: log.complaints(start))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return "", f"the second engine does not load: {log.errors(start) or 'no reason given'}"
    text = engine.create_engine_inspector().get_engine_information(trt.value(JSON))
    return (text, "") if text else ("", "the engine inspector gave nothing")


def _serialized(
    trt: TensorRt, builder: Any, logger: Any, request: BuildRequest, cache: bytes, verbosity: str, log: EngineLog
) -> tuple[bytes, bytes, str]:
    """One engine, the timing cache after it, and why ``cache`` was not used."""
    network = builder.create_network(trt.network_flags)
    parser = trt.module.OnnxParser(network, logger)  # it holds the weights, and so has to outlive the build
    start = len(log.lines)
    parsed = parser.parse(request.graph.read_bytes() + appended_outputs(request.inner_outputs))
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
    """Shapes are fixed, so that there are no optimisation profiles: Polygraphy need not see the network."""
    limits = None if request.workspace_mib is None else {trt.value(WORKSPACE): request.workspace_mib * _MIB}
    try:
        from polygraphy.backend.trt import create_config
        from polygraphy.logger import G_LOGGER
    except ImportError as error:
        raise UsageError("polygraphy", f"cannot be imported: {error}", "pip install polygraphy") from error
    try:
        with G_LOGGER.verbosity(_SILENT):
            config = create_config(
                builder, None, tf32=False, memory_pool_limits=limits, profiling_verbosity=trt.value(verbosity)
            )
    except Exception as error:  # PolygraphyException; before 0.53, which wants the network, TypeError
        problem = f"cannot make TensorRT {trt.version}'s settings: {_line(str(error))}"
        raise BuildError("polygraphy", problem, "pip install --upgrade polygraphy; 0.53 is known to do") from error
    if request.dla_core is not None:  # by hand: Polygraphy takes core 0 alone, and a flag that strong typing forbids
        config.default_device_type = trt.value(DLA)
        config.DLA_core = request.dla_core
        config.set_flag(trt.value(GPU_FALLBACK))
    return config


def _use_cache(config: Any, cache: bytes, log: EngineLog) -> str:
    """Gives the builder an earlier timing cache; returns why it was not taken.

    TensorRT refuses one of another version or device. Of a damaged one it makes an empty one, and says so in its log.
    """
    if not cache:
        return ""
    start = len(log.lines)
    try:
        taken = config.set_timing_cache(config.create_timing_cache(cache), ignore_mismatch=False)
    except Exception as error:  # pybind11 raises TypeError where TensorRT gave no cache
        return " ".join(str(error).split())
    complaints = log.complaints(start)
    if taken and not complaints:
        return ""
    if not taken:  # a refused cache may be left in place
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return complaints or "TensorRT refused it: it is of another version or device"


def _check_dla(builder: Any, core: int | None) -> None:
    if core is not None and core >= builder.num_DLA_cores:
        offered = builder.num_DLA_cores
        found = f"there are {offered} (0 to {offered - 1})" if offered else "there is none"
        raise UsageError(
            f"dla_core = {core}",
            f"TensorRT offers no such deep-learning accelerator on this machine: {found}",
            "leave it out to use the GPU; on an Orin only some releases offer it (10.3, 11.4.1 with JetPack 7.2.2)",
        )


def _refused(trt: TensorRt, parser: Any, graph: Path, logged: str) -> BuildError:
    remedy = "`edgeexport lint` checks a graph for TensorRT; a bundle for --target cpu needs none"
    found = [parser.get_error(index) for index in range(parser.num_errors)]
    for error in found:
        name, operator = (_text(error, entry) for entry in ("node_name", "node_operator"))
        if name or operator or error.node() >= 0:
            what = f"node {name!r}" if name else f"node {error.node()}"
            where = f"{graph}: {what}" + (f" ({operator})" if operator else "")
            return BuildError(where, f"TensorRT {trt.version} refuses it: {_line(error.desc())}", remedy)
    reasons = "; ".join(_line(error.desc()) for error in found) or logged or "no reason given"
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
