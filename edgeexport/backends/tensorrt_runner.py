"""Runs, times and profiles a TensorRT engine. Written from TensorRT's documentation, unrun on a GPU.

Inputs and outputs have fixed places: page-locked memory of the host beside memory of the GPU, allocated once. All work
goes into one stream. As a CUDA graph, the network alone is captured; copies and events stay outside, so that they are
timed the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexport.backends.cuda_runtime import (
    CudaEvent,
    CudaGraph,
    CudaRuntime,
    CudaStream,
    DeviceBuffer,
    HostBuffer,
)
from edgeexport.backends.runner import NodeTime, Timing
from edgeexport.backends.tensorrt_api import INPUT, TensorRt
from edgeexport.backends.tensorrt_log import EngineLog
from edgeexport.errors import BuildError, UsageError

__all__ = ["TensorRtRunner", "mean_layer_times"]

_PROFILE_WARM_UP_RUNS = 2


@dataclass(frozen=True)
class _Tensor:
    """An input or output: its two places."""

    host: HostBuffer
    device: DeviceBuffer


class TensorRtRunner:
    """A deserialized engine with a context.

    Args:
        trt: TensorRT.
        engine: Its ICudaEngine, which holds its runtime, as that holds its logger.
        cuda: CUDA's runtime.
        inputs: Names in the graph's order, the image first.
        outputs: Names: the graph's own, then the inner ones.
        own_outputs: How many of ``outputs`` are the graph's own, which alone are fetched when timing.
        cuda_graph: Capture the inference.
        log: Gets what TensorRT says from now on.
        detailed: Loads the engine with detailed layer information, which is asked for layer times: it and '', or None and why
            there is none.

    Attributes:
        profile_note: Why `node_times` last profiled the engine itself; empty if it did not.

    Raises:
        BuildError: There is too little memory, or the inference cannot be captured.
        UsageError: The engine's inputs and outputs are not those given.
    """

    def __init__(
        self,
        trt: TensorRt,
        engine: Any,
        cuda: CudaRuntime,
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        own_outputs: int,
        cuda_graph: bool = False,
        log: EngineLog,
        detailed: Callable[[], tuple[Any, str]] = lambda: (None, "none was built"),
    ) -> None:
        self.name = "tensorrt engine"
        self.version = trt.version
        self.output_names = list(outputs)
        self.profile_note = ""
        self._trt, self._engine, self._cuda, self._log, self._detailed = trt, engine, cuda, log, detailed
        self._inputs, self._own = list(inputs), list(outputs[:own_outputs])
        self._check_names()
        self._stream = CudaStream(cuda)
        self._tensors = {name: self._tensor(name) for name in (*inputs, *outputs)}
        self._events = [CudaEvent(cuda) for _ in range(4)]
        self._context = self._new_context(engine)
        self._graph: CudaGraph | None = self._captured() if cuda_graph else None

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        """Runs one batch; returns every output by name.

        Raises:
            UsageError: An input is missing, unknown, or of another shape or dtype.
            BuildError: The GPU or TensorRT tells an error.
        """
        self._take(image, extra)
        self._copy_in()
        self._launch()
        self._copy_out(self.output_names)
        self._stream.synchronize()
        return {name: self._tensors[name].host.values.copy() for name in self.output_names}

    def timed(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> Timing:
        """Runs one batch, fetches the graph's own outputs, and times it: copies and network by the GPU's events, launching
        and the whole by the host's clock.

        Raises:
            UsageError, BuildError: As `run` does.
        """
        begin, copied, computed, end = self._events
        start = time.perf_counter()
        self._take(image, extra)
        begin.record(self._stream)
        self._copy_in()
        copied.record(self._stream)
        before = time.perf_counter()
        self._launch()
        enqueue_s = time.perf_counter() - before
        computed.record(self._stream)
        self._copy_out(self._own)
        end.record(self._stream)
        self._stream.synchronize()
        wall_s = time.perf_counter() - start
        return Timing(
            compute_ms=computed.ms_since(copied),
            enqueue_ms=enqueue_s * 1000,
            transfer_ms=copied.ms_since(begin) + end.ms_since(computed),
            end_to_end_ms=wall_s * 1000,
        )

    def node_times(self, image: NDArray, extra: Mapping[str, NDArray] | None = None, runs: int = 10) -> list[NodeTime]:
        """Times of the layers by TensorRT's profiler, mean over ``runs``, in a context of its own, without a CUDA graph.

        The engine that is profiled is another one than that which is timed, built alike with detailed information, and
        loaded for this alone; without it, the profiler names whole fused regions, and ``profile_note`` says so.

        Raises:
            UsageError, BuildError: As `run` does.
        """
        collected: list[list[tuple[str, float]]] = []

        class Profiler(self._trt.module.IProfiler):  # type: ignore[name-defined]  # known at run time alone
            def __init__(self, module: Any) -> None:
                module.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                collected[-1].append((layer_name, ms))

        self._take(image, extra)
        self._copy_in()
        engine, why = self._detailed()
        fused = "the engine that is timed was profiled, whose layers are whole fused regions, since there is none with details"
        self.profile_note = f"{fused}: {why}" if engine is None else ""
        context = self._new_context(self._engine if engine is None else engine)
        profiler = Profiler(self._trt.module)
        context.profiler = profiler
        for _ in range(_PROFILE_WARM_UP_RUNS + runs):
            collected.append([])
            self._enqueue(context)
            self._stream.synchronize()
        return mean_layer_times(collected[_PROFILE_WARM_UP_RUNS:])

    def _check_names(self) -> None:
        engine, trt = self._engine, self._trt
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        taken = [name for name in names if engine.get_tensor_mode(name) == trt.value(INPUT)]
        given = [name for name in names if name not in taken]
        for what, actual, expected in (("takes", taken, self._inputs), ("gives", given, self.output_names)):
            if sorted(actual) != sorted(expected):
                problem = f"{what} {', '.join(actual)}, the bundle's manifest says {', '.join(expected)}"
                raise UsageError("the engine", problem, "build it again")

    def _tensor(self, name: str) -> _Tensor:
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        host = HostBuffer(self._cuda, shape, self._trt.module.nptype(self._engine.get_tensor_dtype(name)))
        return _Tensor(host, DeviceBuffer(self._cuda, host.size_bytes))

    def _new_context(self, engine: Any) -> Any:
        start = self._log.receive()
        context = engine.create_execution_context()
        if context is None:
            problem = f"TensorRT gives no execution context: {self._log.errors(start) or 'no reason given'}"
            raise BuildError("the engine", problem, "free memory of the GPU: stop other programs, or lower --workspace")
        for name, tensor in self._tensors.items():
            if not context.set_tensor_address(name, tensor.device.address):
                reason = self._log.errors(start) or "no reason given"
                raise BuildError(f"tensor {name!r}", f"TensorRT refuses its address: {reason}", "build it again")
        return context

    def _captured(self) -> CudaGraph:
        """After one inference: TensorRT sets things up in the first, which must not be captured."""
        self._enqueue(self._context)
        self._stream.synchronize()
        try:
            return self._stream.captured(lambda: self._enqueue(self._context))
        except BuildError as error:
            raise BuildError(
                "cuda_graph",
                f"the inference cannot be captured: {error.where} {error.problem}",
                "build the engine without --cuda-graph",
            ) from error

    def _take(self, image: NDArray, extra: Mapping[str, NDArray] | None) -> None:
        """Writes the inputs to where they are copied from."""
        first, *others = self._inputs
        further = extra or {}
        if set(further) != set(others):
            supplied, expected = (", ".join(sorted(names)) or "nothing" for names in (further, others))
            raise UsageError("inputs of the engine", f"given {supplied} beside {first!r}, expected {expected}", "")
        for name, value in {first: image, **further}.items():
            place = self._tensors[name].host.values
            if value.shape != place.shape or value.dtype != place.dtype:
                problem = f"is {value.dtype} {value.shape}, the engine takes {place.dtype} {place.shape}"
                raise UsageError(f"input {name!r}", problem, "give what the bundle's manifest says")
            np.copyto(place, value)

    def _copy_in(self) -> None:
        for name in self._inputs:
            self._tensors[name].device.copy_from(self._tensors[name].host, self._stream)

    def _copy_out(self, names: Sequence[str]) -> None:
        for name in names:
            self._tensors[name].device.copy_to(self._tensors[name].host, self._stream)

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue(self._context)

    def _enqueue(self, context: Any) -> None:
        start = self._log.receive()
        if not context.execute_async_v3(self._stream.handle):
            reason = self._log.errors(start) or "no reason given"
            raise BuildError("the engine", f"TensorRT does not execute it: {reason}", "build it again on this machine")


def mean_layer_times(runs: Sequence[Sequence[tuple[str, float]]]) -> list[NodeTime]:
    """Mean time of every layer, in order of execution; layers of one name are told apart by their order.

    Args:
        runs: Per run, (layer's name, milliseconds) as TensorRT reported them.
    """
    totals: dict[tuple[str, int], float] = {}
    for run in runs:
        seen: dict[str, int] = {}
        for name, ms in run:
            seen[name] = seen.get(name, 0) + 1
            totals[name, seen[name]] = totals.get((name, seen[name]), 0.0) + ms
    return [NodeTime(name, "", total / len(runs)) for (name, _), total in totals.items()]
