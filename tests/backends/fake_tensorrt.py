"""A module `tensorrt` without TensorRT, as NVIDIA documents it: in the shapes of 8.6, 10.3 and 11.4. What is not documented
is not there.

It keeps the first logger that it is given, as TensorRT does. Its profiler names one region for all layers of an engine that
was built with their names alone, and those of the inspector, which are no names of the graph, for a detailed one. It checks
what TensorRT checks (versions of engines and caches, plugin names taken twice, addresses that were not set), its engine
computes what the ONNX graph says, with the memory that `stub_cudart.c` hands out, and it remembers how it was asked.
"""

from __future__ import annotations

import ctypes
import itertools
import json
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from cudart_stub import StubCudart
from onnx.reference import ReferenceEvaluator

__all__ = ["COPY", "LAYER_MS", "FakeState", "fake_tensorrt", "layer_name"]

COPY = ("Reformatting CopyNode for Network Output", 0.125)
"""A layer that the profiler names twice, with its milliseconds."""

LAYER_MS = (0.5, 0.25, 0.125, 0.0625)
"""Of the graph's nodes in turn."""


def layer_name(index: int, op_type: str) -> str:
    """As Myelin calls a kernel."""
    return f"__myl_{op_type}_myl0_{index}"


_PLAN = b"fake-plan\n"
_DTYPES = {1: "FLOAT", 2: "UINT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}
_NUMPY = {"FLOAT": "float32", "UINT8": "uint8", "INT32": "int32", "INT64": "int64", "BOOL": "bool", "HALF": "float16"}


class FakeState:
    """What tests set, and what the module remembers."""

    def __init__(self, version: str, stub: StubCudart | None) -> None:
        self.version = version
        self.stub = stub
        self.dla_cores = 0
        self.dla_ops: tuple[str, ...] = ()  # operators that the accelerator takes
        self.places_told = True  # in the log
        self.logger: Any = None
        self.warns_about_caches = False
        self.engines_that_load = 1000
        self.builds_that_fit = 1000
        self.broken_inspector = False
        self.refused_op = ""
        self.plugins: dict[str, tuple[str, ...]] = {}  # library -> names that it registers
        self.parent: list[str] = []  # names that the parent registry has
        self.builds: list[dict[str, Any]] = []
        self.loaded: list[tuple[str, str]] = []  # (whose registry, library)
        self.runtime_dla: list[int] = []
        self.engines: list[str] = []  # verbosities of those that were loaded
        self.contexts = 0
        self.refuses_execution = False


class _Member(int):
    name: str


def _enum(**members: int) -> type:
    found = {}
    for name, value in members.items():
        found[name] = _Member(value)
        found[name].name = name
    return type("Enum", (), found)


def fake_tensorrt(version: str = "10.3.0", stub: StubCudart | None = None) -> Any:
    """The module; its ``_state`` is a `FakeState`."""
    trt: Any = ModuleType("tensorrt")
    state = trt._state = FakeState(version, stub)
    trt.__version__ = version
    new = int(version.split(".")[0]) >= 11
    flags = {"DEBUG": 1, "GPU_FALLBACK": 2, "REFIT": 3, "TF32": 4} if new else {
        "FP16": 0, "INT8": 1, "GPU_FALLBACK": 3, "TF32": 6, "PREFER_PRECISION_CONSTRAINTS": 10, "DIRECT_IO": 11
    }  # fmt: skip
    trt.BuilderFlag = _enum(**flags)
    old = int(version.split(".")[0]) < 10
    creation = {"STRONGLY_TYPED": 0} if new else {"EXPLICIT_BATCH": 0} | ({} if old else {"STRONGLY_TYPED": 1})
    trt.NetworkDefinitionCreationFlag = _enum(**creation)
    trt.MemoryPoolType = _enum(WORKSPACE=0, DLA_MANAGED_SRAM=1)
    trt.ProfilingVerbosity = _enum(LAYER_NAMES_ONLY=0, NONE=1, DETAILED=2)
    trt.DeviceType = _enum(GPU=0, DLA=1)
    trt.LayerInformationFormat = _enum(ONELINE=0, JSON=1)
    trt.TensorIOMode = _enum(NONE=0, INPUT=1, OUTPUT=2)
    trt.DataType = _enum(**{name: index for index, name in enumerate(_NUMPY)})
    trt.nptype = lambda dtype: np.dtype(_NUMPY[dtype.name]).type
    trt.init_libnvinfer_plugins = lambda logger, namespace: isinstance(logger, trt.ILogger)

    class ILogger:
        Severity = _enum(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

        def __init__(self) -> None:
            pass

        def log(self, severity: Any, msg: str) -> None:
            raise NotImplementedError

    class IProfiler:
        def __init__(self) -> None:
            pass

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            raise NotImplementedError

    class IHostMemory(bytes):
        pass

    class Creator:
        __slots__ = ("name", "plugin_namespace", "plugin_version")

        def __init__(self, name: str) -> None:
            self.name, self.plugin_version, self.plugin_namespace = name, "1", "edgeexport"

    class IPluginRegistry:
        __slots__ = ("_logger", "_names", "_owner")

        def __init__(self, owner: str, logger: Any) -> None:
            self._owner, self._logger, self._names = owner, logger, []

        if not old:

            @property
            def all_creators(self) -> list[Creator]:
                return [Creator(name) for name in self._names]

        if new:

            @property
            def all_creators_recursive(self) -> list[Creator]:
                return [Creator(name) for name in (*self._names, *state.parent)]

        def load_library(self, plugin_path: str) -> object:
            names = state.plugins.get(plugin_path)
            if names is None or set(names) & {*self._names, *state.parent}:
                found = "cannot open shared object file" if names is None else "plugin creator exists already"
                self._logger.log(ILogger.Severity.ERROR, f"loadLibrary: {found}")
                return None
            self._names += names
            state.loaded.append((self._owner, plugin_path))
            return object()

    class ITimingCache:
        __slots__ = ("_content",)

        def __init__(self, content: bytes) -> None:
            self._content = content

        def serialize(self) -> IHostMemory:
            return IHostMemory(self._content)

    class IBuilderConfig:
        __slots__ = ("DLA_core", "_cache", "_flags", "_limits", "_logger", "default_device_type", "profiling_verbosity")

        def __init__(self, logger: Any) -> None:
            self._logger, self._limits, self._cache = logger, {}, None
            self._flags = {"TF32"}
            self.DLA_core, self.default_device_type = -1, trt.DeviceType.GPU
            self.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY

        def set_flag(self, flag: Any) -> None:
            assert getattr(trt.BuilderFlag, flag.name) is flag
            self._flags.add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(flag.name)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self._limits[pool.name] = pool_size

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
            if serialized_timing_cache and not serialized_timing_cache.startswith(b"cache of "):
                message = "Failed to deserialize timing cache. Returning an empty timing cache."
                self._logger.log(ILogger.Severity.WARNING, message)
                return ITimingCache(b"")
            return ITimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            content = cache.serialize()
            if state.warns_about_caches:
                self._logger.log(ILogger.Severity.WARNING, "CUDA lazy loading is not enabled.")
            if content and not content.startswith(f"cache of {version} ".encode()) and not ignore_mismatch:
                return False
            self._cache = cache
            return True

        def get_timing_cache(self) -> ITimingCache | None:
            return self._cache

    class INetworkDefinition:
        __slots__ = ("_creation", "_model", "_registry")

        def __init__(self, creation: int, registry: IPluginRegistry) -> None:
            self._creation, self._registry, self._model = creation, registry, b""

    class ParserError:
        __slots__ = ("_desc", "_name", "_node", "_operator")

        def __init__(self, node: int, name: str, operator: str, desc: str) -> None:
            self._node, self._name, self._operator, self._desc = node, name, operator, desc

        def node(self) -> int:
            return self._node

        def node_name(self) -> str:
            return self._name

        def node_operator(self) -> str:
            return self._operator

        def desc(self) -> str:
            return self._desc

    class OnnxParser:
        __slots__ = ("_errors", "_network")

        def __init__(self, network: INetworkDefinition, logger: Any) -> None:
            assert isinstance(network, INetworkDefinition) and isinstance(logger, ILogger)
            self._network, self._errors = network, []

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

        def parse(self, model: bytes, path: str | None = None) -> bool:
            try:
                graph = onnx.load_from_string(model).graph
                onnx.checker.check_model(model, full_check=False)
            except Exception:
                self._errors.append(ParserError(-1, "", "", "Failed to parse the ONNX model."))
                return False
            registered = set(self._network._registry._names)
            for index, node in enumerate(graph.node):
                known = node.domain in ("", "ai.onnx") or node.op_type in registered
                if not known or node.op_type == state.refused_op:
                    desc = f"No importer registered for op: {node.op_type}.\nPlugin not found"
                    self._errors.append(ParserError(index, node.name, node.op_type, desc))
                    return False
            self._network._model = model
            return True

    def only_logger(logger: Any) -> Any:
        assert isinstance(logger, ILogger)
        if state.logger is None:
            state.logger = logger
        elif state.logger is not logger:
            message = "The logger passed into createInferRuntime differs from one already registered"
            state.logger.log(ILogger.Severity.WARNING, message)
        return state.logger

    class Builder:
        __slots__ = ("_logger", "_registry")

        def __init__(self, logger: Any) -> None:
            self._logger = only_logger(logger)
            self._registry = IPluginRegistry("builder", self._logger)

        @property
        def num_DLA_cores(self) -> int:
            return state.dla_cores

        def get_plugin_registry(self) -> IPluginRegistry:
            return self._registry

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            return INetworkDefinition(flags, self._registry)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig(self._logger)

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
            facts = {
                "version": version,
                "creation": network._creation,
                "verbosity": config.profiling_verbosity.name,
                "flags": sorted(config._flags),
                "limits": config._limits,
                "device": config.default_device_type.name,
                "dla_core": config.DLA_core,
                "cache": config._cache.serialize().decode() if config._cache is not None else None,
            }
            state.builds.append(facts)
            if len(state.builds) > state.builds_that_fit:
                message = "Could not find any implementation for node wide: tactic needs 4096 MiB, 512 available"
                self._logger.log(ILogger.Severity.ERROR, message)
                return None
            self._logger.log(ILogger.Severity.INFO, "Engine generation completed")
            self._logger.log(ILogger.Severity.VERBOSE, "a thousand lines of tactics")
            facts["dla_ops"] = list(state.dla_ops) if config.default_device_type.name == "DLA" else []
            if state.places_told and config.default_device_type.name == "DLA":
                for node in onnx.load_from_string(network._model).graph.node:
                    taken = node.op_type in state.dla_ops
                    text = f"[DlaLayer] {{ForeignNode[{node.name}]}}" if taken else f"[GpuLayer] COPY: {node.name}"
                    self._logger.log(ILogger.Severity.VERBOSE, text)
            if config._cache is not None:
                config._cache._content = f"cache of {version} after {len(state.builds)} builds".encode()
            return IHostMemory(_PLAN + json.dumps(facts).encode() + b"\n" + network._model)

    class EngineInspector:
        __slots__ = ("_engine",)

        def __init__(self, engine: Any) -> None:
            self._engine = engine

        def get_engine_information(self, format: Any) -> str:
            assert format is trt.LayerInformationFormat.JSON
            if state.broken_inspector:
                return ""
            graph = self._engine._graph
            detailed = self._engine._facts["verbosity"] == "DETAILED"
            on_dla = self._engine._facts["dla_ops"]
            layers = [
                {
                    "Name": name,
                    "LayerType": "DLA" if node.op_type in on_dla else node.op_type,
                    "Metadata": f"[ONNX Layer: {node.name}]",
                }
                if detailed
                else name
                for name, node in zip(self._engine._layer_names(), graph.node, strict=True)
            ]
            tensors = [value.name for value in (*graph.input, *graph.output)]
            if new:
                return json.dumps({"Layers": layers, "I/O Tensors": [{"Name": name} for name in tensors]})
            return json.dumps({"Layers": layers, "Bindings": tensors})

    class IExecutionContext:
        __slots__ = ("_addresses", "_engine", "_profiler", "_runs")

        def __init__(self, engine: Any) -> None:
            self._engine, self._addresses, self._profiler, self._runs = engine, {}, None, 0
            state.contexts += 1

        @property
        def profiler(self) -> Any:
            return self._profiler

        @profiler.setter
        def profiler(self, value: Any) -> None:
            assert isinstance(value, IProfiler)
            self._profiler = value

        def set_tensor_address(self, name: str, memory: int) -> bool:
            if name not in self._engine._values or not isinstance(memory, int) or memory == 0:
                return False
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            if set(self._addresses) != set(self._engine._values) or not stream_handle or state.refuses_execution:
                self._engine._logger.log(ILogger.Severity.ERROR, "enqueueV3: an address is not set")
                return False
            if state.stub is not None and state.stub.capturing:
                state.stub.on_launch(self._compute)
                return True
            self._compute()
            if self._profiler is not None:
                self._runs += 1
                slow = 10.0 if self._runs <= 2 else 1.0  # a cold start
                for name, ms in self._engine._profiled():
                    self._profiler.report_layer_time(name, slow * ms)
            return True

        def _compute(self) -> None:
            graph = self._engine._graph
            feeds = {value.name: self._array(value.name).copy() for value in graph.input}
            names = [value.name for value in graph.output]
            for name, value in zip(names, self._engine._evaluator.run(names, feeds), strict=True):
                np.copyto(self._array(name), value)

        def _array(self, name: str) -> Any:
            shape, dtype = self._engine._values[name]
            kind = np.dtype(_NUMPY[dtype])
            size = int(np.prod(shape)) * kind.itemsize
            memory = (ctypes.c_ubyte * size).from_address(self._addresses[name])
            return np.frombuffer(memory, kind).reshape(shape)

    class ICudaEngine:
        __slots__ = ("_evaluator", "_facts", "_graph", "_logger", "_values")

        def __init__(self, plan: bytes, logger: Any) -> None:
            head, _, model = plan.removeprefix(_PLAN).partition(b"\n")
            self._facts, self._logger = json.loads(head), logger
            loaded = onnx.load_from_string(model)
            self._graph = loaded.graph
            plain = all(node.domain == "" for node in loaded.graph.node)
            self._evaluator = ReferenceEvaluator(loaded) if plain else None
            self._values = {
                value.name: (
                    tuple(size.dim_value for size in value.type.tensor_type.shape.dim),
                    _DTYPES[value.type.tensor_type.elem_type],
                )
                for value in (*loaded.graph.input, *loaded.graph.output)
            }

        def _layer_names(self) -> list[str]:
            return [layer_name(index, node.op_type) for index, node in enumerate(self._graph.node)]

        def _profiled(self) -> list[tuple[str, float]]:
            times = [ms for ms, _ in zip(itertools.cycle(LAYER_MS), self._graph.node, strict=False)]
            if self._facts["verbosity"] == "DETAILED":
                return [*zip(self._layer_names(), times, strict=True), COPY, COPY]
            ends = [self._graph.node[index] for index in (0, -1)]
            names = "...".join(node.name or f"(Unnamed Layer* 3) [{node.op_type}]" for node in ends)
            return [(f"{{ForeignNode[{names}]}}", sum(times)), COPY, COPY]

        @property
        def num_io_tensors(self) -> int:
            return len(self._values)

        def get_tensor_name(self, index: int) -> str:
            return list(self._values)[index]

        def get_tensor_mode(self, name: str) -> Any:
            inputs = [value.name for value in self._graph.input]
            return trt.TensorIOMode.INPUT if name in inputs else trt.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._values[name][0]

        def get_tensor_dtype(self, name: str) -> Any:
            return getattr(trt.DataType, self._values[name][1])

        def create_execution_context(self) -> IExecutionContext:
            return IExecutionContext(self)

        def create_engine_inspector(self) -> EngineInspector:
            return EngineInspector(self)

    class Runtime:
        __slots__ = ("_logger", "_registry")

        def __init__(self, logger: Any) -> None:
            self._logger = only_logger(logger)
            self._registry = IPluginRegistry("runtime", self._logger)

        @property
        def DLA_core(self) -> int:
            return state.runtime_dla[-1]

        @DLA_core.setter
        def DLA_core(self, core: int) -> None:
            state.runtime_dla.append(core)

        def get_plugin_registry(self) -> IPluginRegistry:
            return self._registry

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if not serialized_engine.startswith(_PLAN):
                self._logger.log(
                    ILogger.Severity.ERROR, "The engine plan file is not compatible: magic tag does not match"
                )
                return None
            if len(state.engines) >= state.engines_that_load:
                return None
            engine = ICudaEngine(serialized_engine, self._logger)
            state.engines.append(engine._facts["verbosity"])
            needed = {node.op_type for node in engine._graph.node if node.domain}
            lacking = needed - set(self._registry._names)
            if lacking:
                self._logger.log(
                    ILogger.Severity.ERROR, f"getPluginCreator could not find plugin: {sorted(lacking)[0]}"
                )
                return None
            return engine

    for item in (
        ILogger, IProfiler, IHostMemory, IPluginRegistry, ITimingCache, IBuilderConfig, INetworkDefinition, ParserError,
        OnnxParser, Builder, EngineInspector, IExecutionContext, ICudaEngine, Runtime,
    ):  # fmt: skip
        setattr(trt, item.__name__, item)
    return trt
