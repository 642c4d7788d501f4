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
from fake_tensorrt import PROFILED_LAYERS
from onnx import parser
from tensorrt_cases import BACKEND, OPTIONS, install, rebuilt, write_trt_bundle

from edgeexport.backends.contract import EngineOptions, NodeTime
from edgeexport.backends.tensorrt_runner import TensorRtRunner, mean_layer_times
from edgeexport.errors import BuildError, UsageError
from edgeexport.profile.layers import measure_layers
from edgeexport.profile.work import WORK_FILE, GraphWork, NodeWork, work_bytes

pytestmark = requires_compiler

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
    np.testing.assert_array_equal(first["best"], [1, 0])
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
    assert "--useCudaGraph" in caught.value.remedy


def test_layer_times(fake: Any, tmp_path: Path) -> None:
    runner = loaded(tmp_path)
    contexts = fake._state.contexts
    found = runner.node_times(IMAGE, runs=3)
    assert found == [NodeTime(name, "", pytest.approx(ms)) for name, ms in PROFILED_LAYERS]
    assert fake._state.contexts == contexts + 1  # the one that is timed has no profiler


def test_layer_times_while_a_graph_is_used(fake: Any, stub: StubCudart, tmp_path: Path) -> None:
    runner = loaded(tmp_path, EngineOptions(target="orin", precision="fp32", cuda_graph=True))
    assert len(runner.node_times(IMAGE, runs=1)) == len(PROFILED_LAYERS)
    assert "cudaGraphLaunch" not in stub.calls


def test_layer_times_become_times_of_the_models_parts(fake: Any, tmp_path: Path) -> None:
    """The profiler's names meet those of engine.graph.json, and through them work.json."""
    model = onnx.load_from_string(MODEL)
    names = ("wide", "scores", "index", "best")
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    bundle = write_trt_bundle(tmp_path / "b", model.SerializeToString())
    record = rebuilt(bundle, tmp_path / "new")
    (bundle.path / "engine.graph.json").write_text(
        (bundle.path / "engine.graph.json").read_text().replace('"Name": "wide"', '"Name": "renamed by TensorRT"')
    )
    parts = ("embedding", "block_1", "tail", "tail")
    work = GraphWork(
        tuple(
            NodeWork(node.name, node.op_type, part, inputs=tuple(node.input), outputs=tuple(node.output))
            for node, part in zip(model.graph.node, parts, strict=True)
        ),
        (),
        frozenset(),
    )
    (bundle.path / WORK_FILE).write_bytes(work_bytes(work))
    found = measure_layers(bundle, BACKEND.load(bundle, record), record, IMAGE, runs=2)
    assert found is not None and found.backend == "tensorrt"
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["scores"].origin.how == "graph" and by_name["scores"].op_type == "Neg"
    assert by_name["wide"].origin.how == "name"  # the inspector calls it otherwise
    assert found.total_ns == round(sum(ms for _, ms in PROFILED_LAYERS) * 1e6)
    assert found.parts_ns["block_1"] >= 0.25e6 and found.parts_ns["embedding"] >= 0.5e6


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
    assert caught.value.problem == f"is {image.dtype} {image.shape}, the engine takes uint8 (2, 3)"


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
