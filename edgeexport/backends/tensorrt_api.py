"""The TensorRT that is installed: which versions are taken, and every name of its Python API that edgeexport uses.

Releases differ in names and in the numbers behind them (the flag of strong typing is bit 1 in 10.x and bit 0 in 11.x, where it
does nothing), so that everything is looked up by name, here alone. A name that a newer release dropped is told before
anything is built. Names and versions are from NVIDIA's documentation; TensorRT-RTX's bindings have all of them but those of
`NOT_IN_TENSORRT_RTX` (tests/backends/test_tensorrt_api.py holds the lists to them). With TensorRT itself nothing here has run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeexport.device.machine import version_tuple
from edgeexport.errors import BuildError, UsageError

__all__ = [
    "NEWEST_MAJOR",
    "NOT_IN_TENSORRT_RTX",
    "OPTIONAL",
    "PLAIN_SMALLEST",
    "PLUGIN_NAMES",
    "REQUIRED",
    "SMALLEST",
    "TensorRt",
    "accelerator_note",
    "installed_tensorrt",
    "why_not_this_version",
]

SMALLEST = (10, 3)
"""With plugins (IPluginV3) and strongly typed networks."""

PLAIN_SMALLEST = (8, 6)
"""8.x takes a graph in standard operators, in FP32: JetPack 6.0 has 8.6.2."""

NEWEST_MAJOR = 11

TYPED_ACCELERATOR = (11, 4, 1)
"""The first release whose documentation has strongly typed networks on deep-learning accelerators (JetPack 7.2.2, AGX Orin)."""

STRONGLY_TYPED = "NetworkDefinitionCreationFlag.STRONGLY_TYPED"
EXPLICIT_BATCH = "NetworkDefinitionCreationFlag.EXPLICIT_BATCH"
WORKSPACE = "MemoryPoolType.WORKSPACE"
TF32 = "BuilderFlag.TF32"
GPU_FALLBACK = "BuilderFlag.GPU_FALLBACK"
DLA = "DeviceType.DLA"
DETAILED = "ProfilingVerbosity.DETAILED"
LAYER_NAMES_ONLY = "ProfilingVerbosity.LAYER_NAMES_ONLY"
JSON = "LayerInformationFormat.JSON"
INPUT = "TensorIOMode.INPUT"
ALL_CREATORS_RECURSIVE = "IPluginRegistry.all_creators_recursive"

REQUIRED = (
    WORKSPACE, TF32, GPU_FALLBACK, DLA, DETAILED, LAYER_NAMES_ONLY, JSON, INPUT,
    "init_libnvinfer_plugins", "nptype",
    "ILogger.log", "IProfiler.report_layer_time",
    "Builder.create_network", "Builder.create_builder_config", "Builder.build_serialized_network", "Builder.num_DLA_cores",
    "OnnxParser.parse", "OnnxParser.num_errors", "OnnxParser.get_error",
    "ParserError.desc", "ParserError.node",
    "IBuilderConfig.set_flag", "IBuilderConfig.clear_flag", "IBuilderConfig.set_memory_pool_limit",
    "IBuilderConfig.profiling_verbosity", "IBuilderConfig.default_device_type", "IBuilderConfig.DLA_core",
    "IBuilderConfig.create_timing_cache", "IBuilderConfig.set_timing_cache", "IBuilderConfig.get_timing_cache",
    "ITimingCache.serialize",
    "Runtime.deserialize_cuda_engine", "Runtime.DLA_core",
    "ICudaEngine.num_io_tensors", "ICudaEngine.get_tensor_name", "ICudaEngine.get_tensor_mode",
    "ICudaEngine.get_tensor_shape", "ICudaEngine.get_tensor_dtype",
    "ICudaEngine.create_execution_context", "ICudaEngine.create_engine_inspector",
    "EngineInspector.get_engine_information",
    "IExecutionContext.set_tensor_address", "IExecutionContext.execute_async_v3", "IExecutionContext.profiler",
)  # fmt: skip
"""Paths below the module that every release has; enum members, methods and attributes."""

PLUGIN_NAMES = (
    "Builder.get_plugin_registry",
    "Runtime.get_plugin_registry",
    "IPluginRegistry.load_library",
    "IPluginRegistry.all_creators",
)
"""Needed where the graph has plugin nodes; 8.x does not have all of them."""

OPTIONAL = (
    STRONGLY_TYPED,
    EXPLICIT_BATCH,
    ALL_CREATORS_RECURSIVE,
    "ParserError.node_name",
    "ParserError.node_operator",
)
"""Used where they are there."""

NOT_IN_TENSORRT_RTX = (EXPLICIT_BATCH,)
"""Documented, unrun: what no binding in reach has."""


@dataclass(frozen=True)
class TensorRt:
    """TensorRT's Python module and its version, such as '10.3.0'."""

    module: Any
    version: str

    def value(self, path: str) -> Any:
        """What stands at a path of `REQUIRED` or `PLUGIN_NAMES`.

        Raises:
            UsageError: This release does not have it.
        """
        member = self.optional(path)
        if member is None:
            raise UsageError(
                f"TensorRT {self.version}",
                f"has no {path}, which edgeexport uses",
                f"use a TensorRT from {_text(SMALLEST)} to {NEWEST_MAJOR}.x that has it, or a newer edgeexport",
            )
        return member

    def optional(self, path: str) -> Any:
        """Likewise for `OPTIONAL`; None where this release does not have it."""
        member = self.module
        for name in path.split("."):
            member = getattr(member, name, None)
        return member

    def started(self, name: str, logger: Any, errors: Callable[[], str]) -> Any:
        """A 'Builder' or 'Runtime'.

        Raises:
            BuildError: TensorRT does not start, as without a driver; ``errors`` tells what it logged.
        """
        try:
            return getattr(self.module, name)(logger)
        except Exception as error:  # pybind11 raises TypeError where TensorRT gave nothing
            raise BuildError(
                f"TensorRT {self.version}",
                f"does not start ({name}): {errors() or ' '.join(str(error).split())}",
                "check the NVIDIA driver (nvidia-smi); in docker give --runtime nvidia",
            ) from error

    @property
    def strongly_typed(self) -> bool:
        """Whether the graph's types are kept: by a flag in 10.x, always in 11.x."""
        return self.takes_plugins

    @property
    def takes_plugins(self) -> bool:
        """Whether it knows the plugins' interface (IPluginV3)."""
        return version_tuple(self.version) >= SMALLEST

    @property
    def network_flags(self) -> int:
        """For `Builder.create_network`: strongly typed; in 8.x, which lacks that, with explicit batch; 0 where there is
        neither, since that release knows nothing else."""
        flag = self.optional(STRONGLY_TYPED)
        if flag is None:
            flag = self.optional(EXPLICIT_BATCH)
        return 0 if flag is None else 1 << int(flag)


def installed_tensorrt() -> TensorRt:
    """The installed TensorRT, with every name of `REQUIRED`.

    Raises:
        UsageError: It is missing, does not load, or is of a version that is not taken.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        if error.name != "tensorrt":
            raise _does_not_load(error) from error
        raise UsageError("tensorrt", "is not installed", _remedy()) from None
    except Exception as error:  # libraries that do not fit raise ImportError, OSError, RuntimeError...
        raise _does_not_load(error) from error
    version = str(getattr(tensorrt, "__version__", ""))
    reason = why_not_this_version(version)
    if reason:
        raise UsageError(f"TensorRT {version}", reason, _remedy())
    trt = TensorRt(tensorrt, version)
    for path in (*REQUIRED, *(PLUGIN_NAMES if trt.takes_plugins else ())):
        trt.value(path)
    return trt


def why_not_this_version(version: str) -> str:
    """Why a version is not taken; empty if it is."""
    numbers = version_tuple(version)
    if not numbers:
        return f"tells no version ({version!r})"
    if numbers[0] > NEWEST_MAJOR:
        return f"is newer than this edgeexport knows; expected {_text(SMALLEST)} to {NEWEST_MAJOR}.x"
    if numbers >= SMALLEST or PLAIN_SMALLEST <= numbers < (9,):
        return ""
    return (
        f"is too old; expected {_text(SMALLEST)} to {NEWEST_MAJOR}.x, or {_text(PLAIN_SMALLEST)} to 8.x for a bundle "
        "without plugins"
    )


def accelerator_note(version: str) -> str:
    """What is to be said before an engine is built for a deep-learning accelerator; empty for a release that documents it."""
    if version_tuple(version) >= TYPED_ACCELERATOR:
        return ""
    first = _text(TYPED_ACCELERATOR)
    return (
        f"strongly typed networks on a deep-learning accelerator are documented for TensorRT {first} with JetPack 7.2.2 alone, "
        f"not for {version}: it may refuse the graph, or leave all of it to the GPU"
    )


def _does_not_load(error: Exception) -> UsageError:
    return UsageError("tensorrt", f"does not load: {' '.join(str(error).split())}", _remedy())


def _remedy() -> str:
    return (
        "on a Jetson use the TensorRT of JetPack 6.1 or newer (python3 -m venv --system-site-packages), not one from pip; "
        "elsewhere pip install 'edgeexport[gpu]'"
    )


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)
