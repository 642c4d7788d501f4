"""ONNX Runtime as a backend, with real sessions on the CPU; what needs CUDA goes through seams."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from engine_cases import IMAGE, MODEL, OTHER_MODEL, write_engine_bundle

from edgeexport.backends import onnxruntime as runner_module
from edgeexport.backends import onnxruntime_engine as engine_module
from edgeexport.backends.contract import DeviceIdentity, EngineOptions, EngineRecord
from edgeexport.backends.device_identity import processor_identity
from edgeexport.backends.onnxruntime import CUDA_PROVIDER, OnnxRuntimeRunner
from edgeexport.backends.onnxruntime_engine import OnnxRuntimeBackend
from edgeexport.bundle import Bundle, sha256_of
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError, BundleError, UsageError
from edgeexport.plugin.trust import remember_made_here

OPTIONS = EngineOptions(target="cpu", precision="fp32", threads=1)
GPU = DeviceIdentity("NVIDIA A10", "x86_64", "8.6")
BACKEND = OnnxRuntimeBackend()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_engine_bundle(tmp_path / "b")


def build_in(bundle: Bundle, folder: Path, options: EngineOptions = OPTIONS) -> EngineRecord:
    folder.mkdir()
    record = BACKEND.build(bundle, folder, options, lambda name: None)
    remember_made_here(record.files)  # as `engine.build_engine` does
    return record


@pytest.fixture
def record(bundle: Bundle, tmp_path: Path) -> EngineRecord:
    """Of an engine that stands in the bundle."""
    found = build_in(bundle, tmp_path / "new")
    (tmp_path / "new" / "engine.onnx").rename(bundle.path / "engine.onnx")
    return found


def refused(bundle: Bundle, record: EngineRecord) -> str:
    with pytest.raises(BundleError) as caught:
        BACKEND.load(bundle, record)
    assert caught.value.exit_code == 9
    assert "edgeexport build" in caught.value.remedy and "--target cpu" in caught.value.remedy
    return caught.value.problem


def test_record_of_a_build(bundle: Bundle, tmp_path: Path) -> None:
    stages: list[str] = []
    (tmp_path / "new").mkdir()
    found = BACKEND.build(bundle, tmp_path / "new", OPTIONS, stages.append)
    assert found.backend == "onnxruntime"
    assert found.backend_version == onnxruntime.__version__
    assert (found.target, found.precision, found.plugins_sha256) == ("cpu", "fp32", None)
    assert (found.graph, found.graph_sha256) == ("model.onnx", sha256_of(bundle.path / "model.onnx"))
    assert found.device == processor_identity()
    assert found.options == {**OPTIONS.as_dict(), "provider": "CPUExecutionProvider"}
    assert found.files == {"engine.onnx": sha256_of(tmp_path / "new" / "engine.onnx")}
    assert found.build_seconds > 0
    assert len(stages) == 1 and onnxruntime.__version__ in stages[0]
    assert {path.name for path in bundle.path.iterdir()} == {"model.onnx", "manifest.json"}


def test_engine_gives_what_the_graph_gives_and_its_inner_values(bundle: Bundle, record: EngineRecord) -> None:
    runner = BACKEND.load(bundle, record)
    assert (runner.name, runner.version) == ("onnxruntime engine", onnxruntime.__version__)
    assert runner.output_names == ["scores", "best", "wide"]
    found = runner.run(IMAGE)
    expected = OnnxRuntimeRunner(bundle.path / "model.onnx").run(IMAGE)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(found["wide"], IMAGE)


def test_engine_is_taken_as_it_was_saved(bundle: Bundle, record: EngineRecord) -> None:
    runner = BACKEND.load(bundle, record)
    assert isinstance(runner, OnnxRuntimeRunner)
    options = runner.session.get_session_options()
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert options.intra_op_num_threads == 1


def test_inner_output_that_is_an_output_already(tmp_path: Path) -> None:
    inner = [{"name": "best", "dtype": "int32", "shape": [2]}]
    bundle = write_engine_bundle(tmp_path / "b", inner_outputs=inner)
    record = build_in(bundle, tmp_path / "new")
    (tmp_path / "new" / "engine.onnx").rename(bundle.path / "engine.onnx")
    assert BACKEND.load(bundle, record).output_names == ["scores", "best"]


# --- Timing and profile ---


def test_timed_fetches_the_graphs_own_outputs(
    bundle: Bundle, record: EngineRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = BACKEND.load(bundle, record)
    assert isinstance(runner, OnnxRuntimeRunner)
    asked: list[list[str]] = []
    run = runner.session.run
    monkeypatch.setattr(runner.session, "run", lambda names, feeds: (asked.append(names), run(names, feeds))[1])
    found = runner.timed(IMAGE)
    assert asked == [["scores", "best"]]
    assert found.compute_ms == found.end_to_end_ms > 0
    assert found.enqueue_ms is None and found.transfer_ms is None
    graph = OnnxRuntimeRunner(MODEL, extra_outputs=[TensorInfo("wide", "float32", (2, 3))])
    run = graph.session.run
    monkeypatch.setattr(graph.session, "run", lambda names, feeds: (asked.append(names), run(names, feeds))[1])
    graph.timed(IMAGE)
    assert asked[1] == ["scores", "best"]


def test_node_times_are_those_of_the_graph(bundle: Bundle, record: EngineRecord) -> None:
    found = BACKEND.load(bundle, record).node_times(IMAGE, runs=3)
    assert sorted(item.op_type for item in found) == ["ArgMax", "Cast", "Cast", "Neg"]
    assert found[0].op_type == "Cast"
    assert all(item.ms >= 0 for item in found)
    assert not list(Path.cwd().glob("profile*.json"))


def test_timing_on_a_gpu_through_its_seam() -> None:
    """The same calls with buffers in host memory instead of the GPU's."""
    session = OnnxRuntimeRunner(MODEL).session
    found = runner_module._timed_on_gpu(session, {"image": IMAGE}, ["scores"], device="cpu")
    assert found.compute_ms > 0 and found.transfer_ms is not None and found.transfer_ms > 0
    assert found.end_to_end_ms == pytest.approx(found.compute_ms + found.transfer_ms)
    assert found.enqueue_ms is None


# --- What does not fit ---


def test_engine_of_another_version(bundle: Bundle, record: EngineRecord) -> None:
    problem = refused(bundle, replace(record, backend_version="1.2.3"))
    assert problem == f"the engine was built with ONNX Runtime 1.2.3, found {onnxruntime.__version__}"


def test_engine_of_another_processor(bundle: Bundle, record: EngineRecord) -> None:
    problem = refused(bundle, replace(record, device=DeviceIdentity("Other", "riscv64")))
    assert problem == f"the engine was built on Other (riscv64), found {processor_identity()}"


def test_engine_of_another_graph(bundle: Bundle, record: EngineRecord) -> None:
    other = write_engine_bundle(bundle.path, OTHER_MODEL)
    problem = refused(other, record)
    assert record.graph_sha256 in problem and sha256_of(bundle.path / "model.onnx") in problem
    with pytest.raises(BundleError, match=r"lists no model2\.onnx"):
        BACKEND.load(other, replace(record, graph="model2.onnx"))


def test_engine_for_a_gpu_where_there_is_none(bundle: Bundle, record: EngineRecord, monkeypatch: Any) -> None:
    options = {**record.options, "provider": CUDA_PROVIDER}
    problem = refused(bundle, replace(record, options=options, device=GPU))
    assert problem.startswith("the engine needs CUDAExecutionProvider, this ONNX Runtime has ")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(engine_module, "gpu_identity", lambda: None)
    problem = refused(bundle, replace(record, options=options, device=GPU))
    assert problem == f"the engine was built on {GPU}, found no GPU"


@pytest.mark.parametrize("changes", [{"provider": None}, {"provider": "Other"}, {"threads": "two"}])
def test_damaged_options(bundle: Bundle, record: EngineRecord, changes: dict[str, Any]) -> None:
    problem = refused(bundle, replace(record, options={**record.options, **changes}))
    assert "expected a provider's name and a number" in problem


def test_file_that_is_no_engine(bundle: Bundle, record: EngineRecord) -> None:
    (bundle.path / "engine.onnx").write_bytes(b"no graph")
    remember_made_here({"engine.onnx": sha256_of(bundle.path / "engine.onnx")})
    assert "refuses the graph" in refused(bundle, record)


@pytest.mark.parametrize("changes", [{"workspace_mib": 512}, {"cuda_graph": True}, {"dla_core": 0}])
def test_options_that_it_does_not_offer(changes: dict[str, Any]) -> None:
    BACKEND.check(OPTIONS)
    with pytest.raises(UsageError) as caught:
        BACKEND.check(replace(OPTIONS, **changes))
    (name,) = changes
    assert caught.value.where == f"{name} = {changes[name]}" and caught.value.remedy


def test_refused_graph(tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "b", b"no graph")
    with pytest.raises(BuildError, match="refuses the graph"):
        build_in(bundle, tmp_path / "new")


# --- Without the package, and CUDA ---


def test_without_onnxruntime(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BACKEND.unavailable() == ""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert BACKEND.unavailable() == BACKEND.without_cuda() == "onnxruntime is not installed"
    with pytest.raises(UsageError, match=r"pip install 'edgeexport\[cpu\]'"):
        build_in(bundle, tmp_path / "new")


def test_why_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert BACKEND.without_cuda() == f"onnxruntime {onnxruntime.__version__} has no CUDAExecutionProvider"
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(engine_module, "gpu_identity", lambda: None)
    assert BACKEND.without_cuda() == "the CUDA driver shows no GPU"
    monkeypatch.setattr(engine_module, "gpu_identity", lambda: GPU)
    assert BACKEND.without_cuda() == ""


def test_target_gpu_takes_cuda(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def session(setting: Any, save_to: Path) -> Any:
        asked["provider"] = setting.provider
        save_to.write_bytes(b"engine")
        return OnnxRuntimeRunner(MODEL).session

    monkeypatch.setattr(engine_module, "gpu_identity", lambda: GPU)
    real = runner_module._session
    monkeypatch.setattr(
        runner_module, "_session", lambda setting, save_to=None: session(setting, save_to) if save_to else real(setting)
    )
    record = build_in(bundle, tmp_path / "new", replace(OPTIONS, target="gpu"))
    assert asked == {"provider": CUDA_PROVIDER}
    assert record.device == GPU and record.options["provider"] == CUDA_PROVIDER
    monkeypatch.setattr(engine_module, "gpu_identity", lambda: None)
    with pytest.raises(UsageError, match="the CUDA driver shows no GPU"):
        BACKEND.build(bundle, tmp_path / "new", replace(OPTIONS, target="gpu"), lambda name: None)


def test_provider_that_is_not_built_in() -> None:
    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(UsageError, match=r"has no CUDAExecutionProvider, only .*edgeexport\[gpu\]"):
        OnnxRuntimeRunner(MODEL, provider=CUDA_PROVIDER)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_falling_back_to_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime goes on without a provider that does not start; a timing of the GPU must not come from the CPU."""
    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, "CPUExecutionProvider"])
    with pytest.raises(BuildError, match="could not start CUDAExecutionProvider and fell back to CPUExecutionProvider"):
        OnnxRuntimeRunner(MODEL, provider=CUDA_PROVIDER)
