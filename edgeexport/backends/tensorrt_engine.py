"""TensorRT as a backend, 10.3 to 11.x: builds, loads and runs engine.plan on the GPU found here.

Written from NVIDIA's documentation. The build runs in TensorRT-RTX without a GPU (tests/backends/test_tensorrt_rtx_build.py);
loading and executing an engine has not run anywhere.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeexport.backends.contract import EngineOptions, EngineRecord, check_same, graph_sha256
from edgeexport.backends.cuda_runtime import open_cuda
from edgeexport.backends.device_identity import gpu_identity
from edgeexport.backends.layer_types import precision_problem
from edgeexport.backends.runner import Runner
from edgeexport.backends.tensorrt_api import TensorRt, accelerator_note, installed_tensorrt
from edgeexport.backends.tensorrt_build import BuildRequest, BuiltPlan, build_plan
from edgeexport.backends.tensorrt_load import PlanLoader
from edgeexport.backends.tensorrt_log import EngineLog
from edgeexport.backends.tensorrt_plugins import PluginLibrary, library_for_build, library_of_engine, plugin_ops
from edgeexport.backends.tensorrt_runner import TensorRtRunner
from edgeexport.bundle import Bundle, hashes_of
from edgeexport.errors import BuildError, BundleError, UsageError
from edgeexport.plugin.trust import check_trusted, trusted_bytes

__all__ = [
    "DESCRIPTION_FILE",
    "DETAILED_FILE",
    "ENGINE_FILE",
    "GRAPH_FILE",
    "LOG_FILE",
    "TIMING_CACHE_FILE",
    "TensorRtBackend",
]

GRAPH_FILE = "model.trt.onnx"
ENGINE_FILE = "engine.plan"
DETAILED_FILE = "engine.detailed.plan"
DESCRIPTION_FILE = "engine.graph.json"
LOG_FILE = "engine.log"
TIMING_CACHE_FILE = "timing.cache"

_NO_GPU = "the CUDA driver shows no GPU"
_DLA_TARGETS = ("orin", "orin-32gb", "orin-nx")  # Orin Nano and Thor have none


class TensorRtBackend:
    """See the module."""

    name = "tensorrt"

    def unavailable(self) -> str:
        """Why it cannot be used on this machine; empty if it can."""
        try:
            installed_tensorrt()
        except UsageError as error:
            return f"{error.where} {error.problem}"
        return "" if gpu_identity() else _NO_GPU

    def check(self, options: EngineOptions) -> None:
        """Refuses what ONNX Runtime alone offers, and accelerators where there are none.

        Raises:
            UsageError: See above.
        """
        if options.threads:
            raise UsageError(
                f"threads = {options.threads}", "TensorRT runs on the GPU", "leave it out, or give --target cpu"
            )
        if options.workspace_mib is not None and options.workspace_mib < 1:
            raise UsageError(
                f"workspace_mib = {options.workspace_mib}", "expected 1 or more", "such as --workspace 4096"
            )
        core = options.dla_core
        if core is None:
            return
        if core < 0:
            raise UsageError(f"dla_core = {core}", "expected 0 or more", "such as --dla-core 0")
        if options.target not in _DLA_TARGETS:
            problem = f"target {options.target} has no deep-learning accelerator"
            raise UsageError(f"dla_core = {core}", problem, f"leave it out; {' and '.join(_DLA_TARGETS)} have")
        if options.precision != "fp16":  # left empty before a build from a recipe, which is fp32 then
            problem = "a deep-learning accelerator computes in half precision, and the bundle's graphs are fp32"
            raise UsageError(f"dla_core = {core}", problem, "build the bundle with --precision fp16")

    def build(
        self, bundle: Bundle, folder: Path, options: EngineOptions, on_stage: Callable[[str], None]
    ) -> EngineRecord:
        """Builds engine.plan from model.trt.onnx, and writes beside it the engine that is profiled and described, its
        description, the log and the timing cache.

        Raises:
            UsageError: TensorRT is missing, or too old for the graph; there is no GPU; or plugins are not wanted and the
                graph has them.
            BuildError: No plugin library fits, or TensorRT refuses the graph.
            OSError: The engine's files cannot be written.
        """
        trt = installed_tensorrt()
        device = gpu_identity()
        if device is None or device.compute_capability is None:
            raise UsageError(f"--target {options.target}", _NO_GPU, "build the engine on the device that runs it")
        library = self._library(bundle, trt, options, device.compute_capability)
        own = [str(entry["name"]) for entry in bundle.manifest["outputs"]]
        inner = tuple(info for info in bundle.inner_outputs if info.name not in own)
        cache, foreign = _earlier_cache(bundle.path / TIMING_CACHE_FILE)
        request = BuildRequest(
            graph=bundle.path / bundle.graph(GRAPH_FILE),
            inner_outputs=inner,
            workspace_mib=options.workspace_mib,
            dla_core=options.dla_core,
            plugin_library=library,
            timing_cache=cache,
        )
        log = EngineLog()
        doubts = "" if options.dla_core is None else accelerator_note(trt.version)
        if doubts:
            on_stage(doubts)
        started = time.perf_counter()
        built = build_plan(trt, request, log, on_stage)
        seconds = time.perf_counter() - started
        wrong = precision_problem(options.precision, built.layers_by_type)
        if wrong:
            raise BuildError(
                bundle.graph(GRAPH_FILE), wrong, "build the bundle again with --precision fp16, or the engine with fp32"
            )
        note = foreign or built.cache_note
        if note:
            on_stage(f"the earlier {TIMING_CACHE_FILE} was not used: {note}")
        if built.description_note:
            on_stage(f"no {DESCRIPTION_FILE}: {built.description_note}")
        if options.dla_core is not None:
            on_stage(_accelerator_share(options.dla_core, built))
        return EngineRecord(
            backend=self.name,
            backend_version=trt.version,
            target=options.target,
            precision=options.precision,
            graph=bundle.graph(GRAPH_FILE),
            graph_sha256=graph_sha256(bundle, bundle.graph(GRAPH_FILE)),
            plugins_sha256=None if library is None else library.sha256,
            device=device,
            options={
                **options.as_dict(),
                "strongly_typed": trt.strongly_typed,
                "tf32": "off",
                "inner_outputs": [info.name for info in inner],
                "plugin_library": None if library is None else library.place,
                "timing_cache": note or ("reused" if cache else "new"),
                "timing_cache_from": hashlib.sha256(cache).hexdigest() if cache and not note else None,
                "layers_by_type": built.layers_by_type,
                "layer_information": built.description_note or DESCRIPTION_FILE,
                **(
                    {} if options.dla_core is None else {"layers_by_device": built.layers_by_device, "dla_note": doubts}
                ),
            },
            build_seconds=seconds,
            files=hashes_of(folder, _written(folder, built, log)),
        )

    def load(self, bundle: Bundle, record: EngineRecord) -> Runner:
        """Loads the engine, unless version, device, graph or plugin library are not those that it was built with.

        Raises:
            UsageError: TensorRT or CUDA's runtime is missing.
            BundleError: See above; the file is no engine; or engine or library were neither made here nor named by the
                user (exit code 9).
            BuildError: The GPU has too little memory.
        """
        again = f"build it again here: edgeexport build {bundle.path} --target {record.target}"
        trt = installed_tensorrt()
        check_same(bundle, "with TensorRT", trt.version, record.backend_version, again)
        check_same(bundle, "on", gpu_identity() or "no GPU", record.device, again)
        graph_hash = graph_sha256(bundle, record.graph)
        check_same(bundle, f"from {record.graph} of sha256", graph_hash, record.graph_sha256, again)
        inner = _inner_names(bundle, record, again)
        path = bundle.path / next(iter(record.files))
        plan = trusted_bytes(path, again)
        library = None
        if record.plugins_sha256 is not None:
            library, digest = library_of_engine(bundle, record.plugins_sha256)
            check_same(bundle, "with the plugin library of sha256", digest, record.plugins_sha256, again)
            check_trusted(bundle.path / "plugins" if library is None else library, digest, again)
        cuda = open_cuda()
        log = EngineLog()
        ops = () if library is None else plugin_ops(bundle, record.graph)
        try:
            loader = PlanLoader(trt, log, library=library, ops=ops, dla_core=record.options.get("dla_core"))
        except BuildError as error:
            if library is None or error.where != str(library):
                raise
            raise BundleError(error.where, error.problem, error.remedy) from error
        engine, why = loader.engine(plan)
        if engine is None:
            raise BundleError(str(path), f"TensorRT {trt.version} does not load it: {why}", again)
        own = [str(entry["name"]) for entry in bundle.manifest["outputs"]]
        try:
            return TensorRtRunner(
                trt,
                engine,
                cuda,
                inputs=[str(bundle.manifest["input"]["name"]), *(info.name for info in bundle.extra_inputs)],
                outputs=[*own, *inner],
                own_outputs=len(own),
                cuda_graph=bool(record.options.get("cuda_graph")),
                log=log,
                detailed=lambda: _detailed_engine(bundle, record, loader),
            )
        except UsageError as error:
            if error.where != "the engine":
                raise
            raise BundleError(str(path), error.problem, again) from error

    def _library(
        self, bundle: Bundle, trt: TensorRt, options: EngineOptions, compute_capability: str
    ) -> PluginLibrary | None:
        """The plugin library that the graph needs; None for one in standard operators."""
        graph = bundle.graph(GRAPH_FILE)
        ops = plugin_ops(bundle, graph)
        plain = "make a bundle without: edgeexport build RECIPE --no-plugins"
        if ops and not options.plugins:
            problem = f"{graph} of this bundle has plugin nodes ({', '.join(ops)})"
            raise UsageError("--no-plugins", problem, plain)
        if ops and not trt.takes_plugins:
            raise UsageError(f"TensorRT {trt.version}", f"cannot load the plugins that {graph} needs", plain)
        if options.precision != "fp32" and not trt.strongly_typed:
            problem = f"keeps no types of the graph, which is {options.precision}"
            raise UsageError(f"TensorRT {trt.version}", problem, "build the bundle with --precision fp32")
        if not ops:
            return None
        return library_for_build(bundle, ops, tensorrt=trt.version, compute_capability=compute_capability)


def _detailed_engine(bundle: Bundle, record: EngineRecord, loader: PlanLoader) -> tuple[Any, str]:
    """The engine to profile and ''; or None and why there is none, so that the other one has to do."""
    if DETAILED_FILE not in record.files:
        why = record.options.get("layer_information", DESCRIPTION_FILE)
        return None, "it was built before there was one" if why == DESCRIPTION_FILE else str(why)
    try:
        plan = trusted_bytes(bundle.path / DETAILED_FILE, "")
    except BundleError as error:
        return None, f"{DETAILED_FILE} {error.problem}"
    engine, why = loader.engine(plan)
    return engine, "" if engine is not None else f"{DETAILED_FILE} does not load: {why}"


def _earlier_cache(path: Path) -> tuple[bytes, str]:
    """The timing cache of an earlier build here and ''; or nothing and why one that is there is not read."""
    try:
        return (trusted_bytes(path, "") if path.is_file() else b""), ""
    except BundleError as error:
        return b"", error.problem


def _accelerator_share(core: int, built: BuiltPlan) -> str:
    """How much of the engine runs on the accelerator; a layer there is up to a whole network."""
    places = built.layers_by_device
    if places is None:
        return f"accelerator {core}: TensorRT does not tell what runs there"
    if not places["dla"]:
        return f"accelerator {core}: nothing runs there, all {places['gpu']} layers fell back to the GPU"
    return f"accelerator {core}: {places['dla']} of {sum(places.values())} layers run there, the others on the GPU"


def _written(folder: Path, built: BuiltPlan, log: EngineLog) -> list[str]:
    """Writes the engine's files; returns their names, the engine first."""
    contents = {
        ENGINE_FILE: built.plan,
        DETAILED_FILE: built.detailed,
        DESCRIPTION_FILE: built.description.encode(),
        TIMING_CACHE_FILE: built.timing_cache,
        LOG_FILE: log.text().encode(),
    }
    names = [name for name, content in contents.items() if content or name == ENGINE_FILE]
    for name in names:
        (folder / name).write_bytes(contents[name])
    return names


def _inner_names(bundle: Bundle, record: EngineRecord, again: str) -> list[str]:
    names = record.options.get("inner_outputs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problem = f"options.inner_outputs is {names!r}, expected a list of names"
        raise BundleError(str(bundle.path / "engine.json"), problem, again)
    return names
