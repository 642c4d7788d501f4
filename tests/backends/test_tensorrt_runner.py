"""Running, timing and profiling an engine: which calls are made, in which order, and what comes of errors."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cudart_stub import StubCudart, requires_compiler
from engine_cases import IMAGE, MODEL
from fake_tensorrt import COPY, LAYER_MS, layer_name
from onnx import parser
from tensorrt_cases import BACKEND, OPTIONS, install, rebuilt, write_trt_bundle

from edgeexport.backends.contract import EngineOptions
from edgeexport.backends.runner import NodeTime
from edgeexport.backends.tensorrt_runner import TensorRtRunner, mean_layer_times
from edgeexport.cost.work import WORK_FILE, GraphWork, NodeWork, work_bytes
from edgeexport.errors import BuildError, UsageError
from edgeexport.profile.attribution import Attribution
from edgeexport.profile.layers import measure_layers

pytestmark = requires_compiler

OPS = ("Cast", "Neg", "ArgMax", "Cast")
NAMES = ("wide", "scores", "index", "best")
TWO_INPUTS = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
g (float[2,3] image, float[3] text) => (float[2,3] scores, int32[2] best) {
    scores = Mul (image, text)
    index = ArgMax <axis = 1, keepdims = 0> (scores)
    best = Cast <to = 6> (index)
}""").SerializeToString()


@pytest.fixture
def stub() -> StubCudart:
    gc.collect()
    return StubCudart()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, stub: StubCudart) -> Any:
    return install(monkeypatch, "10.3.0", stub)


def loaded(folder: Path, options: EngineOptions = OPTIONS, **bundle: Any) -> TensorRtRunner:
    made = write_trt_bundle(folder / "b", **bundle)
    runner = BACKEND.load(made, rebuilt(made, folder / "new", options))
    assert isinstance(runner, TensorRtRunner)
    return runner


def test_calls_of_a_timed_run(fake: Any, stub: StubCudart, tmp_path: Path) -> None:
    runner = loaded(tmp_path)
    before = len(stub.calls)
    found = runner.timed(IMAGE)
    assert stub.calls[before:] == [
        "cudaEventRecord",
        "cudaMemcpyAsync to-device 6",
        "cudaEventRecord",
        "cudaEventRecord",
        "cudaMemcpyAsync to-host 24",  # scores and best: the inner output stays on the GPU
        "cudaMemcpyAsync to-host 8",
        "cudaEventRecord",
        "cudaStreamSynchronize",
        "cudaEventElapsedTime",
        "cudaEventElapsedTime",
        "cudaEventElapsedTime",
    ]
    # The stub's events tick once per record.
    assert (found.compute_ms, found.transfer_ms) == (1.0, 2.0)
    assert found.enqueue_ms is not None and 0 < found.enqueue_ms < found.end_to_end_ms


def test_run_returns_copies(fake: Any, tmp_path: Path) -> None:
    runner = loaded(tmp_path)
    first = runner.run(IMAGE)
    runner.run(IMAGE[::-1].copy())
    np.testing.assert_array_equal(first["best"].ravel(), [1, 0])
    assert first["best"].dtype == np.int32 and first["scores"].dtype == np.float32


def test_cuda_graph(fake: Any, stub: StubCudart, tmp_path: Path) -> None:
    runner = loaded(tmp_path, EngineOptions(target="orin", precision="fp32", cuda_graph=True))
    captured = [
        call.split(" ")[0] for call in stub.calls if "Capture" in call or "Graph" in call or "Synchronize" in call
    ]
    # One inference runs before the capture.
    assert captured == [
        "cudaStreamSynchronize",
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiateWithFlags",
        "cudaGraphDestroy",
    ]
    fake._state.refuses_execution = True  # from here on the graph alone computes
    for image in (IMAGE, IMAGE[::-1].copy()):
        np.testing.assert_array_equal(runner.run(image)["wide"], image.astype(np.float32))
    assert runner.timed(IMAGE).compute_ms == 1.0
    assert stub.calls.count("cudaGraphLaunch") == 3


def test_inference_that_cannot_be_captured(fake: Any, stub: StubCudart, tmp_path: Path) -> None:
    stub.fail("cudaStreamEndCapture", 999)
    with pytest.raises(BuildError) as caught:
        loaded(tmp_path, EngineOptions(target="orin", precision="fp32", cuda_graph=True))
    assert (
        caught.value.where == "cuda_graph"
        and "cudaStreamEndCapture failed: unknown error (999)" in caught.value.problem
    )
    assert "--cuda-graph" in caught.value.remedy


def test_layer_times(fake: Any, tmp_path: Path) -> None:
    runner = loaded(tmp_path)
    contexts = fake._state.contexts
    assert fake._state.engines == ["DETAILED", "LAYER_NAMES_ONLY"]  # described while it was built; loaded to run
    found = runner.node_times(IMAGE, runs=3)
    assert fake._state.engines[2:] == ["DETAILED"]  # for this alone
    expected = [(layer_name(index, op), ms) for index, (op, ms) in enumerate(zip(OPS, LAYER_MS, strict=True))]
    assert found == [NodeTime(name, "", pytest.approx(ms)) for name, ms in (*expected, COPY, COPY)]
    assert fake._state.contexts == contexts + 1  # the one that is timed has no profiler
    assert runner.profile_note == ""


def test_layer_times_while_a_graph_is_used(fake: Any, stub: StubCudart, tmp_path: Path) -> None:
    runner = loaded(tmp_path, EngineOptions(target="orin", precision="fp32", cuda_graph=True))
    assert len(runner.node_times(IMAGE, runs=1)) == len(OPS) + 2
    assert "cudaGraphLaunch" not in stub.calls


def profiled(folder: Path, *, broken: bool = False, fake: Any = None) -> Attribution:
    """Builds a graph whose nodes have names and parts, and profiles it. ``broken``: its detailed engine cannot be built."""
    model = onnx.load_from_string(MODEL)
    for node, name in zip(model.graph.node, NAMES, strict=True):
        node.name = name
    bundle = write_trt_bundle(folder / "b", model.SerializeToString())
    if broken:
        fake._state.builds_that_fit = 1
    record = rebuilt(bundle, folder / "new")
    parts = ("embedding", "block_1", "tail", "tail")
    work = GraphWork(
        tuple(
            NodeWork(
                node.name,
                node.op_type,
                part,
                inputs=tuple(node.input),
                outputs=tuple(node.output),
                writes={"float32": 100},
            )
            for node, part in zip(model.graph.node, parts, strict=True)
        ),
        (),
        frozenset(),
    )
    (bundle.path / WORK_FILE).write_bytes(work_bytes(work))
    found = measure_layers(bundle, BACKEND.load(bundle, record), record, IMAGE, runs=2)
    assert found is not None and found.backend == "tensorrt"
    return found


def test_layer_times_become_times_of_the_models_parts(fake: Any, tmp_path: Path) -> None:
    """The profiler's names, which are no names of the graph, meet those of engine.graph.json, and through them work.json."""
    found = profiled(tmp_path)
    assert [layer.name for layer in found.layers[:4]] == [layer_name(index, op) for index, op in enumerate(OPS)]
    assert [layer.origin.how for layer in found.layers[:4]] == ["graph"] * 4
    assert [layer.op_type for layer in found.layers[:4]] == list(OPS)
    assert found.parts_ns == {"embedding": 500_000, "block_1": 250_000, "tail": 125_000 + 62_500 + 2 * 125_000}
    assert (found.divided_share, found.provenance) == (0.0, "measured")
    assert "shares are to be trusted" in found.summary()["method"]


def test_profile_without_the_detailed_engine_is_an_estimate_and_says_so(fake: Any, tmp_path: Path) -> None:
    found = profiled(tmp_path, broken=True, fake=fake)
    assert found.layers[0].name == "{ForeignNode[wide...best]}"
    assert found.provenance == "estimate" and found.divided_share > 0.7
    summary = found.summary()
    assert "shares are an estimate; the engine that is timed was profiled" in summary["method"]
    assert "since there is none with details: " in summary["method"] and "gave no engine" in summary["method"]


def test_detailed_engine_that_does_not_load(fake: Any, tmp_path: Path) -> None:
    """As where memory is short: the other one has to do."""
    runner = loaded(tmp_path)
    fake._state.engines_that_load = len(fake._state.engines)
    (layer, *_) = runner.node_times(IMAGE, runs=1)
    assert layer.name.startswith("{ForeignNode[")
    assert runner.profile_note.endswith("engine.detailed.plan does not load: no reason given")
    fake._state.engines_that_load = 100
    runner.node_times(IMAGE, runs=1)
    assert runner.profile_note == ""


def test_mean_of_layer_times() -> None:
    runs = [[("a", 1.0), ("copy", 2.0), ("copy", 4.0)], [("a", 3.0), ("copy", 2.0), ("copy", 6.0)]]
    assert mean_layer_times(runs) == [NodeTime("a", "", 2.0), NodeTime("copy", "", 2.0), NodeTime("copy", "", 5.0)]


# --- Inputs ---


def two_inputs(folder: Path) -> TensorRtRunner:
    return loaded(
        folder,
        model=TWO_INPUTS,
        input={"name": "image", "dtype": "float32", "shape": [2, 3, 1, 1], "preprocess": None},
        extra_inputs=[{"name": "text", "dtype": "float32", "shape": [3]}],
        inner_outputs=[],
    )


def test_further_inputs(fake: Any, tmp_path: Path) -> None:
    runner = two_inputs(tmp_path)
    image, text = np.ones((2, 3), np.float32), np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(runner.run(image, {"text": text})["scores"], image * text)
    with pytest.raises(UsageError, match="given nothing beside 'image', expected text"):
        runner.run(image)
    with pytest.raises(UsageError, match="given sound, text beside 'image', expected text"):
        runner.timed(image, {"text": text, "sound": text})


@pytest.mark.parametrize("image", [IMAGE.astype(np.float32), IMAGE[:1], IMAGE.reshape(3, 2)])
def test_input_of_another_form(fake: Any, tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path).run(image)
    assert caught.value.problem == f"is {image.dtype} {image.shape}, the engine takes uint8 (2, 3, 1, 1)"


# --- Errors ---


def test_error_of_the_gpu_while_it_runs(fake: Any, stub: StubCudart, tmp_path: Path) -> None:
    runner = loaded(tmp_path)
    stub.fail("cudaStreamSynchronize", 999)
    for action in (runner.run, runner.timed, runner.node_times):
        with pytest.raises(BuildError, match=r"cudaStreamSynchronize \| failed: unknown error \(999\)"):
            action(IMAGE)


def test_error_of_tensorrt_while_it_runs(fake: Any, tmp_path: Path) -> None:
    runner = loaded(tmp_path)
    fake._state.refuses_execution = True
    with pytest.raises(BuildError, match="TensorRT does not execute it: enqueueV3: an address is not set"):
        runner.run(IMAGE)


def test_errors_are_those_of_the_call(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of another engine, nor those of a call that is over."""
    runner, other = loaded(tmp_path / "1"), loaded(tmp_path / "2")
    fake._state.logger.log(fake.ILogger.Severity.ERROR, "of the second engine, as its log is the last")
    monkeypatch.setattr(fake.IExecutionContext, "execute_async_v3", lambda self, stream: False)
    for engine in (runner, other, runner):
        with pytest.raises(BuildError, match="TensorRT does not execute it: no reason given"):
            engine.run(IMAGE)

    def failing(self: object, stream: int) -> bool:
        fake._state.logger.log(fake.ILogger.Severity.ERROR, "this time")
        return False

    monkeypatch.setattr(fake.IExecutionContext, "execute_async_v3", failing)
    for engine in (runner, other):
        with pytest.raises(BuildError, match="TensorRT does not execute it: this time"):
            engine.run(IMAGE)


def test_too_little_memory_for_a_context(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake.ICudaEngine, "create_execution_context", lambda self: None)
    with pytest.raises(BuildError, match="TensorRT gives no execution context: no reason given") as caught:
        loaded(tmp_path)
    assert "free memory of the GPU" in caught.value.remedy


def test_address_that_is_refused(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake.IExecutionContext, "set_tensor_address", lambda self, name, memory: False)
    with pytest.raises(BuildError, match=r"tensor 'image' \| TensorRT refuses its address"):
        loaded(tmp_path)


def test_everything_is_given_back(fake: Any, stub: StubCudart, tmp_path: Path) -> None:
    before = stub.live
    runner = loaded(tmp_path, EngineOptions(target="orin", precision="fp32", cuda_graph=True))
    runner.run(IMAGE)
    assert stub.live > before
    del runner
    stub.on_launch(lambda: None)  # the graph's callback holds the engine's context
    gc.collect()
    assert stub.live == before
