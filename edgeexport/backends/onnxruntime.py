"""Runs, times and profiles a graph in ONNX Runtime: a bundle's `model.onnx`, or the engine optimised from it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexport.backends.graph_outputs import appended_outputs
from edgeexport.backends.onnxruntime_profile import node_times_from_events
from edgeexport.backends.runner import NodeTime, Timing
from edgeexport.bundle.places import WEIGHTS_FILE
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.device.plain_session import EXTERNAL_FOLDER
from edgeexport.device.remains import temporary_folder
from edgeexport.documents import read_document
from edgeexport.documents.traces import RUN_EVENTS
from edgeexport.errors import BuildError, UsageError

__all__ = ["CPU_PROVIDER", "CUDA_PROVIDER", "OnnxRuntimeRunner", "installed_onnxruntime"]

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"

_IN_ONE_FILE_BYTES = 1 << 30  # optimised, weights may take up to twice as much: reordered ones lie beside the others

_PROFILE_WARM_UP_RUNS = 2


@dataclass(frozen=True)
class _Setting:
    """What a session is made from, so that the profiler can have one of its own."""

    model: Path | bytes
    extra_outputs: tuple[TensorInfo, ...]
    threads: int
    shared_pool: bool
    provider: str
    optimised: bool
    weights: Path | None
    prepacked: bool

    @property
    def where(self) -> str:
        """The model, for messages."""
        return "model" if isinstance(self.model, bytes) else str(self.model)


class OnnxRuntimeRunner:
    """One session.

    Args:
        model: Path of an ONNX file, or its serialized bytes.
        extra_outputs: Inner values to return as well, behind the graph's own outputs.
        threads: Intra-op threads; 0 lets ONNX Runtime choose; ignored with ``shared_pool``.
        shared_pool: Use the process-wide thread pool (see `onnxruntime.set_global_thread_pool_sizes`), for timing
            several sessions against each other.
        provider: Where it executes: `CPU_PROVIDER` or `CUDA_PROVIDER`.
        optimised: The graph was saved after optimisation and is taken as it is; False optimises it in memory.
        save_to: Writes the optimised graph there.
        own_outputs: How many outputs are the graph's own, where others were saved behind them; None: all but
            ``extra_outputs``.
        name: Of the runner, in comparisons and reports.
        weights: Folder of the files to which serialized bytes refer for weights; a file refers to its neighbours.
        prepacked: False keeps no second copy of the weights in the order that products read them in: slower runs, half the
            memory.

    Raises:
        UsageError: ONNX Runtime is not installed, or has no such provider.
        BuildError: The graph is not accepted.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        extra_outputs: Sequence[TensorInfo] = (),
        threads: int = 0,
        shared_pool: bool = False,
        provider: str = CPU_PROVIDER,
        optimised: bool = False,
        save_to: Path | None = None,
        own_outputs: int | None = None,
        name: str = "onnxruntime",
        weights: Path | None = None,
        prepacked: bool = True,
    ) -> None:
        self.name = name
        self._setting = _Setting(
            model, tuple(extra_outputs), threads, shared_pool, provider, optimised, weights, prepacked
        )
        self.session = _session(self._setting, save_to)
        self.version: str = installed_onnxruntime().__version__
        self.input_name, *extra_names = (value.name for value in self.session.get_inputs())
        self.extra_input_names: tuple[str, ...] = tuple(extra_names)
        self.output_names: list[str] = [output.name for output in self.session.get_outputs()]
        self._own_outputs = len(self.output_names) - len(extra_outputs) if own_outputs is None else own_outputs

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        """Runs one batch; returns every output by name.

        Args:
            image: The graph's first input.
            extra: Its further inputs by name, where it has any.

        Raises:
            UsageError: ``extra`` lacks an input of the graph, or names one that it does not have.
            BuildError: ONNX Runtime fails to run the graph.
        """
        feeds = self._feeds(image, extra)
        with self._run_errors():
            values = self.session.run(None, feeds)
        return dict(zip(self.output_names, (np.asarray(value) for value in values), strict=True))

    def timed(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> Timing:
        """Runs one batch, fetches the graph's own outputs, and times it.

        Raises:
            UsageError, BuildError: As `run` does.
        """
        feeds = self._feeds(image, extra)
        names = self.output_names[: self._own_outputs]
        with self._run_errors():
            if self._setting.provider == CUDA_PROVIDER:
                return _timed_on_gpu(self.session, feeds, names)
            start = time.perf_counter()
            self.session.run(names, feeds)
            wall_ms = (time.perf_counter() - start) * 1000
        return Timing(wall_ms, None, None, wall_ms)

    def node_times(self, image: NDArray, extra: Mapping[str, NDArray] | None = None, runs: int = 10) -> list[NodeTime]:
        """Times of the nodes in order of execution, mean over ``runs``, from a session of its own with the profiler on.

        Raises:
            UsageError, BuildError: As `run` does.
        """
        feeds = self._feeds(image, extra)
        with temporary_folder() as folder:
            session = _session(self._setting, profile=folder / "profile")
            with self._run_errors():
                for _ in range(_PROFILE_WARM_UP_RUNS + runs):
                    session.run(None, feeds)
            events = read_document(Path(session.end_profiling()), RUN_EVENTS)
        return node_times_from_events(events, skipped_runs=_PROFILE_WARM_UP_RUNS)

    @contextlib.contextmanager
    def _run_errors(self) -> Iterator[None]:
        """ONNX Runtime's own exceptions derive from Exception alone."""
        try:
            yield
        except Exception as error:
            problem = f"ONNX Runtime {self.version} fails to run the graph: {' '.join(str(error).split())}"
            raise BuildError(
                self._setting.where, problem, "build the bundle again; or its machine lacks memory"
            ) from error

    def _feeds(self, image: NDArray, extra: Mapping[str, NDArray] | None) -> dict[str, NDArray]:
        further = extra or {}
        if set(further) != set(self.extra_input_names):
            raise UsageError(
                "inputs of the graph",
                f"given {_listed(further)} beside {self.input_name!r}, expected {_listed(self.extra_input_names)}",
                "a bundle's manifest lists them under extra_inputs",
            )
        return {self.input_name: image, **further}


def installed_onnxruntime() -> Any:
    """The module.

    Raises:
        UsageError: It is not installed, or its installation does not load.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name == "onnxruntime":
            raise UsageError("onnxruntime", "is not installed", "pip install 'edgeexport[cpu]'") from None
        raise _does_not_load(error) from error
    except Exception as error:  # a broken installation raises whatever it likes
        raise _does_not_load(error) from error
    return onnxruntime


def _does_not_load(error: Exception) -> UsageError:
    remedy = "python -c 'import onnxruntime' shows why; then pip install --force-reinstall onnxruntime"
    return UsageError("onnxruntime", f"is installed but does not load: {error}", remedy)


def _session(setting: _Setting, save_to: Path | None = None, profile: Path | None = None) -> Any:
    onnxruntime = installed_onnxruntime()
    if setting.provider not in onnxruntime.get_available_providers():
        raise UsageError(
            f"ONNX Runtime {onnxruntime.__version__}",
            f"has no {setting.provider}, only {', '.join(onnxruntime.get_available_providers())}",
            "pip install 'edgeexport[gpu]' in an environment without the package onnxruntime",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = setting.threads
    options.use_per_session_threads = not setting.shared_pool
    if setting.optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
        if isinstance(setting.model, Path) and _bytes_of(setting.model.with_name(WEIGHTS_FILE)) > _IN_ONE_FILE_BYTES:
            entry = "session.optimized_model_external_initializers_file_name"
            options.add_session_config_entry(entry, save_to.with_suffix(".weights.bin").name)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if setting.provider == CUDA_PROVIDER and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA's libraries from NVIDIA's wheels, where they were installed so
    model = setting.model
    source: bytes | str = model if isinstance(model, bytes) else str(model)
    try:
        if setting.extra_outputs:
            content = model if isinstance(model, bytes) else model.read_bytes()
            source = content + appended_outputs(setting.extra_outputs)
        folder = setting.weights if isinstance(model, bytes) else model.parent
        if not setting.prepacked:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if folder is not None:
            options.add_session_config_entry(EXTERNAL_FOLDER, str(folder))
        session = onnxruntime.InferenceSession(source, options, providers=[setting.provider])
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        problem = f"ONNX Runtime {onnxruntime.__version__} refuses the graph: {error}"
        raise BuildError(setting.where, problem) from error
    if session.get_providers()[0] != setting.provider:  # it goes on without a provider whose libraries do not load
        raise BuildError(
            setting.where,
            f"ONNX Runtime {onnxruntime.__version__} could not start {setting.provider} and fell back to "
            f"{', '.join(session.get_providers())}",
            "its log on standard error names the library that is missing; install the CUDA and cuDNN that it expects",
        )
    return session


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _timed_on_gpu(session: Any, feeds: Mapping[str, NDArray], outputs: Sequence[str], device: str = "cuda") -> Timing:
    """Copies to the GPU, the run, and copies back, each synchronised by ONNX Runtime. Documented, unrun."""
    from onnxruntime import OrtValue

    binding = session.io_binding()
    start = time.perf_counter()
    for name, value in feeds.items():
        binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(value, device, 0))
    for name in outputs:
        binding.bind_output(name, device, 0)
    binding.synchronize_inputs()
    copied_in = time.perf_counter()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    computed = time.perf_counter()
    binding.copy_outputs_to_cpu()
    end = time.perf_counter()
    transfer_s = (copied_in - start) + (end - computed)
    return Timing((computed - copied_in) * 1000, None, transfer_s * 1000, (end - start) * 1000)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "nothing"
