"""ONNX Runtime as a backend: the engine is the graph as its optimiser leaves it, for the processor or GPU found here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from edgeexport.backends.contract import DeviceIdentity, EngineOptions, EngineRecord, check_same, graph_sha256
from edgeexport.backends.device_identity import gpu_identity, processor_identity
from edgeexport.backends.onnxruntime import CPU_PROVIDER, CUDA_PROVIDER, OnnxRuntimeRunner, installed_onnxruntime
from edgeexport.backends.runner import Runner
from edgeexport.bundle import Bundle, hashes_of, sha256_of
from edgeexport.device.targets import ONNXRUNTIME, target_named
from edgeexport.errors import BuildError, BundleError, UsageError
from edgeexport.plugin.trust import check_trusted

__all__ = ["ENGINE_FILE", "GRAPH_FILE", "OnnxRuntimeBackend"]

GRAPH_FILE = "model.onnx"
ENGINE_FILE = "engine.onnx"

_RUNNER_NAME = "onnxruntime engine"
# Options of other backends, with what each would mean here.
_NOT_OFFERED = {
    "workspace_mib": "ONNX Runtime takes no limit of scratch memory",
    "cuda_graph": "ONNX Runtime's engines are run without CUDA graphs",
    "dla_core": "ONNX Runtime has no provider for the deep-learning accelerator",
    "policy_dla_core": "ONNX Runtime has no provider for the deep-learning accelerator",
}


class OnnxRuntimeBackend:
    """Builds, loads and runs `engine.onnx`: on the processor for target cpu, with CUDA for an NVIDIA GPU.

    The optimised graph holds the choices of one version for one processor (memory layouts, fused kernels); it is not
    loaded by another. CUDA execution is written from ONNX Runtime's documentation and has not run on a GPU.
    """

    name = "onnxruntime"

    def unavailable(self) -> str:
        """Why it cannot be used on this machine; empty if it can."""
        try:
            installed_onnxruntime()
        except UsageError as error:
            return f"onnxruntime {error.problem}"
        return ""

    def without_cuda(self) -> str:
        """Why it cannot use a GPU here; empty if it offers CUDA and the driver shows a GPU."""
        if reason := self.unavailable():
            return reason
        onnxruntime = installed_onnxruntime()
        if CUDA_PROVIDER not in onnxruntime.get_available_providers():
            return f"onnxruntime {onnxruntime.__version__} has no {CUDA_PROVIDER}"
        return "" if gpu_identity() else "the CUDA driver shows no GPU"

    def check(self, options: EngineOptions) -> None:
        """Refuses what TensorRT alone offers.

        Raises:
            UsageError: See above.
        """
        for name, why in _NOT_OFFERED.items():
            value = getattr(options, name)
            if value is not None and value is not False:
                raise UsageError(f"{name} = {value}", why, f"leave it out for an engine of {self.name}")

    def build(
        self, bundle: Bundle, folder: Path, options: EngineOptions, on_stage: Callable[[str], None]
    ) -> EngineRecord:
        """Optimises model.onnx, with the bundle's inner outputs behind its own, and saves the result.

        Raises:
            UsageError: ONNX Runtime is missing, or there is no GPU to build for.
            BuildError: It refuses the graph.
            OSError: The engine cannot be written.
        """
        provider = CPU_PROVIDER if target_named(options.target).kind == ONNXRUNTIME else CUDA_PROVIDER
        device = _device(provider)
        if device is None:
            raise UsageError(provider, "the CUDA driver shows no GPU on this machine", "give --target cpu")
        version = installed_onnxruntime().__version__
        on_stage(f"ONNX Runtime {version} optimises the graph for {device}")
        own = [str(entry["name"]) for entry in bundle.manifest["outputs"]]
        started = time.perf_counter()
        try:
            OnnxRuntimeRunner(
                bundle.path / bundle.graph(GRAPH_FILE),
                extra_outputs=[info for info in bundle.inner_outputs if info.name not in own],
                threads=options.threads,
                provider=provider,
                save_to=folder / ENGINE_FILE,
            )
        except BuildError:
            # ONNX Runtime calls a full disk a failed serialization; a copy of the graph, of about the engine's size, tells.
            with (
                (bundle.path / bundle.graph(GRAPH_FILE)).open("rb") as graph,
                (folder / ENGINE_FILE).open("wb") as copy,
            ):
                shutil.copyfileobj(graph, copy)
            raise
        build_seconds = time.perf_counter() - started
        if not (folder / ENGINE_FILE).is_file():
            raise BuildError(str(folder / ENGINE_FILE), f"ONNX Runtime {version} saved no optimised graph")
        return EngineRecord(
            backend=self.name,
            backend_version=version,
            target=options.target,
            precision=options.precision,
            graph=bundle.graph(GRAPH_FILE),
            graph_sha256=graph_sha256(bundle, bundle.graph(GRAPH_FILE)),
            plugins_sha256=None,
            device=device,
            options={**options.as_dict(), "provider": provider},
            build_seconds=build_seconds,
            files=hashes_of(folder, sorted(path.name for path in folder.iterdir())),
        )

    def load(self, bundle: Bundle, record: EngineRecord) -> Runner:
        """Loads the engine, unless version, device or graph are not those that it was built with.

        Raises:
            UsageError: ONNX Runtime is missing.
            BundleError: See above, or the file is no engine (exit code 9).
        """
        again = f"build it again here: edgeexport build {bundle.path} --target {record.target}"
        onnxruntime = installed_onnxruntime()
        check_same(bundle, "with ONNX Runtime", onnxruntime.__version__, record.backend_version, again)
        provider, threads = record.options.get("provider"), record.options.get("threads")
        where = str(bundle.path / "engine.json")
        if provider not in (CPU_PROVIDER, CUDA_PROVIDER) or not isinstance(threads, int):
            recorded = f"options.provider is {provider!r} and options.threads {threads!r}"
            raise BundleError(where, f"{recorded}, expected a provider's name and a number", again)
        offered = onnxruntime.get_available_providers()
        if provider not in offered:
            raise BundleError(where, f"the engine needs {provider}, this ONNX Runtime has {', '.join(offered)}", again)
        check_same(bundle, "on", _device(provider) or "no GPU", record.device, again)
        graph_hash = graph_sha256(bundle, record.graph)
        check_same(bundle, f"from {record.graph} of sha256", graph_hash, record.graph_sha256, again)
        path = bundle.path / next(iter(record.files))
        check_trusted(path, sha256_of(path), again)
        try:
            return OnnxRuntimeRunner(
                path,
                threads=threads,
                provider=provider,
                optimised=True,
                own_outputs=len(bundle.manifest["outputs"]),
                name=_RUNNER_NAME,
            )
        except BuildError as error:
            raise BundleError(error.where, error.problem, again) from error


def _device(provider: str) -> DeviceIdentity | None:
    return processor_identity() if provider == CPU_PROVIDER else gpu_identity()
