"""Engines beside a bundle: built whole or not at all, for the right machine, and loaded only where they fit."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from engine_cases import IMAGE, OTHER_MODEL, changed_json, write_engine_bundle

from edgeexport.backends import BACKENDS
from edgeexport.backends import engine as engine_module
from edgeexport.backends.contract import DeviceIdentity, EngineOptions, EngineRecord
from edgeexport.backends.engine import (
    build_engine,
    build_engine_if_possible,
    check_engine_options,
    engine_record,
    load_engine,
    runner_from_bundle,
)
from edgeexport.backends.onnxruntime_engine import OnnxRuntimeBackend
from edgeexport.backends.runner import Runner
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.errors import BuildError, BundleError, EdgeExportError, UsageError

BUNDLE_FILES = {"model.onnx", "manifest.json"}
ENGINE_FILES = {"engine.onnx", "engine.json"}


class FakeBackend:
    """Stands in for TensorRT: writes the files that it is told to."""

    name = "tensorrt"

    def __init__(self, files: dict[str, bytes] | None = None, missing: str = "") -> None:
        self.files = files or {"engine.plan": b"plan", "timing.cache": b"cache"}
        self.missing = missing
        self.options: EngineOptions | None = None
        self.error: BaseException | None = None

    def unavailable(self) -> str:
        return self.missing

    def check(self, options: EngineOptions) -> None:
        if options.threads:
            raise UsageError("threads", "are for a CPU", "leave them out")

    def build(
        self, bundle: Bundle, folder: Path, options: EngineOptions, on_stage: Callable[[str], None]
    ) -> EngineRecord:
        self.options = options
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
            if self.error is not None:
                raise self.error
        hashes = {name: engine_module.sha256_of(folder / name) for name in self.files}
        device = DeviceIdentity("Orin", "aarch64", "8.7")
        graph = bundle.manifest["files"]["model.onnx"]
        return EngineRecord(
            self.name, "10.3.0", options.target, options.precision, "model.onnx", graph, None, device, {}, 2.0, hashes
        )

    def load(self, bundle: Bundle, record: EngineRecord) -> Runner:
        raise AssertionError("loaded")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_engine_bundle(tmp_path / "b")


@pytest.fixture
def built(bundle: Bundle) -> Bundle:
    build_engine(bundle.path)
    return bundle


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    monkeypatch.setitem(BACKENDS, "tensorrt", fake)
    return fake


@pytest.fixture
def on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is whatever Jetson is asked for."""
    monkeypatch.setattr(engine_module, "why_not_this_machine", lambda target: "")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def refused(action: Callable[[], object], error: type[EdgeExportError], code: int) -> str:
    with pytest.raises(error) as caught:
        action()
    assert type(caught.value) is error and caught.value.exit_code == code
    assert caught.value.where and caught.value.problem and caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Building ---


def test_build_and_load(bundle: Bundle) -> None:
    stages: list[str] = []
    result = build_engine(bundle.path, options=EngineOptions(threads=1), on_stage=stages.append)
    assert names_in(bundle.path) == BUNDLE_FILES | ENGINE_FILES
    assert (result.record.target, result.record.precision) == ("cpu", "fp32")
    assert engine_record(bundle) == result.record
    assert json.loads(json.dumps(result.as_dict()))["engine"]["options"]["threads"] == 1
    assert stages[0] == "check the bundle" and len(stages) == 2
    np.testing.assert_array_equal(load_engine(open_bundle(bundle.path)).run(IMAGE)["best"].ravel(), [1, 0])


def test_settings_of_the_machine_are_recorded(
    tmp_path: Path, tensorrt: FakeBackend, on_any_device: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime tunes an engine in the power mode that it finds: the timing may be in another."""
    asked: list[bool] = []

    def settings(on_gpu: bool) -> dict[str, Any]:
        asked.append(on_gpu)
        return {"power_mode": "MODE_30W", "gpu_multiprocessors": 8}

    monkeypatch.setattr(engine_module, "build_settings", settings)
    bundle = write_engine_bundle(tmp_path / "b", target="orin")
    assert build_engine(bundle.path).record.options["power_mode"] == "MODE_30W"
    record = build_engine(bundle.path, target="cpu").record
    assert asked == [True, False]
    assert record.options["threads"] == 0 and record.options["power_mode"] == "MODE_30W"
    assert engine_record(bundle) == record


def test_building_again_replaces(built: Bundle) -> None:
    (built.path / "engine.onnx").write_bytes(b"damaged")
    build_engine(built.path, options=EngineOptions(threads=1))
    assert names_in(built.path) == BUNDLE_FILES | ENGINE_FILES
    load_engine(built)


def test_any_bundle_can_be_executed_on_a_cpu(tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "b", target="orin")
    assert build_engine(bundle.path, target="cpu").record.target == "cpu"
    load_engine(bundle)
    assert build_engine(bundle.path, options=EngineOptions(target="cpu")).record.target == "cpu"


def test_bundle_for_another_machine(tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "b", target="orin")
    for target in (None, "orin"):
        text = refused(lambda target=target: build_engine(bundle.path, target=target), BundleError, 9)
        assert "was built for orin, this machine is " in text and "expected a Jetson AGX Orin 64GB" in text
        assert "edgeexport build b --target orin" in text and "give --target cpu" in text
    assert names_in(bundle.path) == BUNDLE_FILES


def test_bundle_for_another_target(bundle: Bundle) -> None:
    text = refused(lambda: build_engine(bundle.path, target="orin"), BundleError, 9)
    assert "was built for cpu, asked for orin" in text and "build a bundle from the recipe with --target orin" in text
    assert "did you mean 'orin'" in refused(lambda: build_engine(bundle.path, target="orinn"), UsageError, 2)


def test_another_precision(bundle: Bundle) -> None:
    options = EngineOptions(precision="fp16")
    text = refused(lambda: build_engine(bundle.path, options=options), UsageError, 2)
    assert text == "--precision fp16 | the bundle's graphs are fp32 | build the bundle again with --precision fp16"


def test_damaged_bundle_gets_no_engine(bundle: Bundle) -> None:
    (bundle.path / "model.onnx").write_bytes(OTHER_MODEL)
    assert "was changed after the build" in refused(lambda: build_engine(bundle.path), BundleError, 9)
    assert names_in(bundle.path) == BUNDLE_FILES


def test_tensorrt_builds_for_jetsons(tmp_path: Path, tensorrt: FakeBackend, on_any_device: None) -> None:
    bundle = write_engine_bundle(tmp_path / "b", target="orin")
    asked = EngineOptions(workspace_mib=512, cuda_graph=True, dla_core=1, plugins=False)
    record = build_engine(bundle.path, options=asked).record
    assert tensorrt.options == replace(asked, target="orin", precision="fp32")
    assert list(record.files) == ["engine.plan", "timing.cache"]
    assert names_in(bundle.path) == BUNDLE_FILES | {"engine.plan", "timing.cache", "engine.json"}
    tensorrt.missing = "tensorrt is not installed"
    text = refused(lambda: build_engine(bundle.path), UsageError, 2)
    assert "--target orin | needs TensorRT: tensorrt is not installed | use the TensorRT of JetPack" in text


def test_gpu_takes_tensorrt_else_onnxruntime_with_cuda(
    tmp_path: Path, tensorrt: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_engine_bundle(tmp_path / "b", target="gpu")
    assert build_engine(bundle.path).record.backend == "tensorrt"
    tensorrt.missing = "no tensorrt"
    cuda = FakeBackend({"engine.onnx": b"graph"})
    monkeypatch.setattr(OnnxRuntimeBackend, "build", cuda.build)
    monkeypatch.setattr(OnnxRuntimeBackend, "without_cuda", lambda self: "")
    assert list(build_engine(bundle.path).record.files) == ["engine.onnx"]
    monkeypatch.setattr(OnnxRuntimeBackend, "without_cuda", lambda self: "no CUDA")
    text = refused(lambda: build_engine(bundle.path), UsageError, 2)
    assert "neither TensorRT (no tensorrt) nor ONNX Runtime with CUDA (no CUDA) can be used here" in text


def test_engine_of_another_backend_leaves_no_files_behind(
    tmp_path: Path, tensorrt: FakeBackend, on_any_device: None
) -> None:
    bundle = write_engine_bundle(tmp_path / "b", target="orin")
    build_engine(bundle.path)
    build_engine(bundle.path, target="cpu")
    assert names_in(bundle.path) == BUNDLE_FILES | ENGINE_FILES


def test_damaged_record_makes_nothing_else_disappear(built: Bundle) -> None:
    changed_json(built.path / "engine.json", files={"engine.onnx": "x", "model.onnx": "x", "manifest.json": "x"})
    build_engine(built.path)
    assert names_in(built.path) == BUNDLE_FILES | ENGINE_FILES
    (built.path / "engine.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        engine_record(built)
    build_engine(built.path)
    load_engine(built)


# --- An unlucky build ---


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), BuildError("graph", "refused"), MemoryError()])
def test_interrupted_build_leaves_the_old_engine(
    tmp_path: Path, tensorrt: FakeBackend, on_any_device: None, stop: BaseException
) -> None:
    bundle = write_engine_bundle(tmp_path / "b", target="orin")
    before = build_engine(bundle.path).record
    tensorrt.files, tensorrt.error = {"engine.plan": b"half"}, stop
    with pytest.raises(type(stop)):
        build_engine(bundle.path)
    assert engine_record(bundle) == before
    assert (bundle.path / "engine.plan").read_bytes() == b"plan"
    assert names_in(bundle.path) == BUNDLE_FILES | {"engine.plan", "timing.cache", "engine.json"}


def test_interrupted_between_the_files_there_is_no_engine(built: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record goes first and comes last, so that no record ever stands beside another build's file."""
    replaced = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if target.name == "engine.json":
            raise KeyboardInterrupt
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        build_engine(built.path)
    assert engine_record(built) is None
    assert names_in(built.path) == BUNDLE_FILES | {"engine.onnx"}


@pytest.mark.parametrize(
    ("number", "problem"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot be written: Read-only")]
)
def test_disk(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, number: int, problem: str) -> None:
    def failing(self: Path, *arguments: Any, **keywords: Any) -> None:
        raise OSError(number, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "write_bytes", failing)
    assert problem in refused(lambda: build_engine(bundle.path), BuildError, 5)
    monkeypatch.undo()
    assert names_in(bundle.path) == BUNDLE_FILES
    monkeypatch.setattr(Path, "mkdir", failing)
    assert problem in refused(lambda: build_engine(bundle.path), BuildError, 5)


# --- As the last stage of a build ---


def test_engine_where_this_machine_can(bundle: Bundle) -> None:
    record, reason = build_engine_if_possible(bundle.path, options=EngineOptions(threads=1))
    assert record == engine_record(bundle) and record is not None and reason == ""
    assert record.options["threads"] == 1


def test_no_engine_and_why(tmp_path: Path, tensorrt: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    orin = write_engine_bundle(tmp_path / "orin", target="orin")
    record, reason = build_engine_if_possible(orin.path)
    assert record is None
    assert reason.startswith("this machine is ") and reason.endswith("there: edgeexport build BUNDLE --target orin")
    gpu = write_engine_bundle(tmp_path / "gpu", target="gpu")
    tensorrt.missing = "no tensorrt"
    monkeypatch.setattr(OnnxRuntimeBackend, "without_cuda", lambda self: "no CUDA")
    record, reason = build_engine_if_possible(gpu.path)
    assert record is None and "no tensorrt" in reason and "no CUDA" in reason
    assert names_in(gpu.path) == names_in(orin.path) == BUNDLE_FILES


def test_options_are_refused_before_anything_is_computed(
    bundle: Bundle, tensorrt: FakeBackend, on_any_device: None
) -> None:
    check_engine_options("cpu", EngineOptions(threads=2))
    check_engine_options("orin", EngineOptions(workspace_mib=512, dla_core=0))
    assert "threads | are for a CPU" in refused(
        lambda: check_engine_options("orin", EngineOptions(threads=2)), UsageError, 2
    )
    options = EngineOptions(workspace_mib=512)
    assert "workspace_mib = 512" in refused(lambda: check_engine_options("cpu", options), UsageError, 2)
    assert "workspace_mib = 512" in refused(lambda: build_engine(bundle.path, options=options), UsageError, 2)
    assert names_in(bundle.path) == BUNDLE_FILES


def test_options_of_an_engine_that_is_built_elsewhere() -> None:
    check_engine_options("orin", EngineOptions(precision="fp32", plugins=False))
    text = refused(lambda: check_engine_options("orin", EngineOptions(cuda_graph=True, dla_core=0)), UsageError, 2)
    assert text.startswith(
        "cuda_graph = True, dla_core = 0 | is the engine's, and none is built here: this machine is "
    )
    assert text.endswith("give it there: edgeexport build BUNDLE --target orin")


# --- Loading ---


def test_no_engine(bundle: Bundle) -> None:
    assert engine_record(bundle) is None
    assert "has no engine.json, so no engine" in refused(lambda: load_engine(bundle), BundleError, 9)


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({"schema": "edgeexport.engine/2"}, "'edgeexport.engine/2'", "'edgeexport.engine/1'"),
        ({"device": ...}, "lacks", "device"),
        ({"backend": "openvino"}, "'openvino'", "expected one of onnxruntime"),
        ({"backend_version": "1.2.3"}, f"found {onnxruntime.__version__}", "built with ONNX Runtime 1.2.3"),
        ({"device": {"name": "Other", "machine": "riscv64", "compute_capability": None}}, "found ", "built on Other"),
        ({"graph_sha256": "ab" * 32}, "found ", "ab" * 32),
        ({"files": {"engine.onnx": "ab" * 32}}, "was changed after the build", "engine.json says abababababab..."),
        ({"files": {"engine.plan": "ab" * 32}}, "engine.plan | is missing", "engine.json lists it"),
    ],
)
def test_engine_that_does_not_fit(built: Bundle, changes: dict[str, Any], found: str, expected: str) -> None:
    changed_json(built.path / "engine.json", **changes)
    text = refused(lambda: load_engine(built), BundleError, 9)
    assert found in text and expected in text
    text = refused(lambda: runner_from_bundle(built), BundleError, 9)
    assert found in text and expected in text


def test_damaged_engine(built: Bundle) -> None:
    with (built.path / "engine.onnx").open("ab") as stream:
        stream.write(b"\0")
    text = refused(lambda: load_engine(built), BundleError, 9)
    assert "engine.onnx | was changed after the build" in text and "build the engine again" in text


def test_engine_of_another_build_of_the_bundle(built: Bundle) -> None:
    other = write_engine_bundle(built.path, OTHER_MODEL)
    assert "the engine was built from model.onnx of sha256" in refused(lambda: load_engine(other), BundleError, 9)


# --- What is executed ---


def test_engine_if_there_is_one(bundle: Bundle) -> None:
    assert runner_from_bundle(bundle).name == "onnxruntime"
    build_engine(bundle.path)
    engine, graph = runner_from_bundle(bundle), runner_from_bundle(bundle, "none", threads=1)
    assert (engine.name, graph.name) == ("onnxruntime engine", "onnxruntime")
    assert engine.output_names == graph.output_names == ["scores", "best", "wide"]
    for name, value in graph.run(IMAGE).items():
        np.testing.assert_array_equal(engine.run(IMAGE)[name], value)


def test_outputs_asked_of_the_graph(bundle: Bundle) -> None:
    assert runner_from_bundle(bundle, "none", extra_outputs=[]).output_names == ["scores", "best"]


def test_refusal_names_the_way_around(built: Bundle) -> None:
    changed_json(built.path / "engine.json", backend_version="1.2.3")
    text = refused(lambda: runner_from_bundle(built), BundleError, 9)
    assert text.endswith("--target cpu; or --engine none runs model.onnx")
    runner_from_bundle(built, "none")


def test_choice_of_an_engine(built: Bundle) -> None:
    assert "did you mean 'auto'" in refused(lambda: runner_from_bundle(built, "atuo"), UsageError, 2)
    assert "an engine keeps the threads" in refused(lambda: runner_from_bundle(built, threads=2), UsageError, 2)


def test_record_of_a_device_is_no_engine_here(built: Bundle) -> None:
    changed_json(built.path / "engine.json", provenance="built on ssh://orin")
    (built.path / "engine.onnx").unlink()
    assert runner_from_bundle(built).name == "onnxruntime"
