"""The backend on a device that is not there: a TensorRT as documented, CUDA's memory on the host, real files."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cudart_stub import StubCudart, requires_compiler
from engine_cases import IMAGE, MODEL, OTHER_MODEL
from tensorrt_cases import (
    BACKEND,
    OPTIONS,
    ORIN,
    build_in,
    cached_library,
    install,
    library_bytes,
    made_here,
    rebuilt,
    write_plugin_bundle,
    write_trt_bundle,
)

from edgeexport.backends import engine as engine_module
from edgeexport.backends import tensorrt_engine
from edgeexport.backends.contract import DeviceIdentity, EngineOptions, EngineRecord
from edgeexport.backends.engine import build_engine, engine_record, load_engine
from edgeexport.backends.tensorrt_runner import TensorRtRunner
from edgeexport.bundle import Bundle, open_bundle, sha256_of
from edgeexport.errors import BuildError, BundleError, EdgeExportError, UsageError
from edgeexport.plugin.build_record import FILE_NAME

pytestmark = requires_compiler
FILES = ("engine.plan", "engine.detailed.plan", "engine.graph.json", "timing.cache", "engine.log")


@pytest.fixture
def stub() -> StubCudart:
    gc.collect()
    return StubCudart()


@pytest.fixture(params=["10.3.0", "11.4.1"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, stub: StubCudart, tmp_path: Path) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return install(monkeypatch, request.param, stub)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_trt_bundle(tmp_path / "b")


def refused(
    action: Callable[[], object], error: type[EdgeExportError] = BundleError, code: int = 9
) -> tuple[str, str, str]:
    with pytest.raises(error) as caught:
        action()
    assert type(caught.value) is error and caught.value.exit_code == code
    assert caught.value.remedy and "\n" not in str(caught.value)
    return caught.value.where, caught.value.problem, caught.value.remedy


# --- Building ---


def test_record_and_files_of_a_build(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record = build_in(bundle, tmp_path / "new", replace(OPTIONS, workspace_mib=256))
    assert (record.backend, record.backend_version) == ("tensorrt", fake.__version__)
    assert (record.target, record.precision, record.plugins_sha256) == ("orin", "fp32", None)
    assert (record.graph, record.graph_sha256) == ("model.trt.onnx", sha256_of(bundle.path / "model.trt.onnx"))
    assert record.device == ORIN and record.build_seconds > 0
    assert tuple(record.files) == FILES
    assert record.files == {name: sha256_of(tmp_path / "new" / name) for name in FILES}
    assert record.options == {
        **replace(OPTIONS, workspace_mib=256).as_dict(),
        "strongly_typed": True,
        "tf32": "off",
        "inner_outputs": ["wide"],
        "plugin_library": None,
        "timing_cache": "new",
        "timing_cache_from": None,
        "layers_by_type": None,  # the stand-in's description names no types
        "layer_information": "engine.graph.json",
    }
    assert EngineRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record
    assert {path.name for path in bundle.path.iterdir()} == {"model.onnx", "model.trt.onnx", "manifest.json"}


def test_timing_cache_is_reused(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    rebuilt(bundle, tmp_path / "1")
    kept = (bundle.path / "timing.cache").read_bytes()
    record = rebuilt(bundle, tmp_path / "2")
    assert record.options["timing_cache"] == "reused"
    assert record.options["timing_cache_from"] == hashlib.sha256(kept).hexdigest() != record.files["timing.cache"]
    assert fake._state.builds[2]["cache"].encode() == kept


def test_cache_of_another_version_is_left_with_a_note(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "timing.cache").write_bytes(b"cache of 8.6.2 before")
    made_here(b"cache of 8.6.2 before")
    stages: list[str] = []
    (tmp_path / "new").mkdir()
    record = BACKEND.build(bundle, tmp_path / "new", OPTIONS, stages.append)
    reason = "TensorRT refused it: it is of another version or device"
    assert record.options["timing_cache"] == reason and record.options["timing_cache_from"] is None
    assert stages[-1] == f"the earlier timing.cache was not used: {reason}"
    assert [stage.split(" ")[0] for stage in stages[:2]] == ["TensorRT", "TensorRT"]


def test_without_description(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    fake._state.broken_inspector = True
    record = build_in(bundle, tmp_path / "new")
    assert not {"engine.graph.json", "engine.detailed.plan"} & set(record.files)  # of no use without each other
    assert record.options["layer_information"] == "the engine inspector gave nothing"


def test_graph_with_plugins(fake: Any, tmp_path: Path) -> None:
    library = library_bytes(tensorrt=fake.__version__)
    made_here(library)
    bundle = write_plugin_bundle(tmp_path / "b", library)
    fake._state.plugins = {str(bundle.path / "plugins" / FILE_NAME): ("TokenPartition",)}
    record = rebuilt(bundle, tmp_path / "new")
    assert record.plugins_sha256 == hashlib.sha256(library).hexdigest()
    assert record.options["plugin_library"] == "bundle" and record.options["layer_information"] == "engine.graph.json"
    BACKEND.load(bundle, record)
    assert [owner for owner, _ in fake._state.loaded] == ["builder", "runtime", "runtime"]


def test_graph_with_plugins_and_no_library(fake: Any, tmp_path: Path) -> None:
    bundle = write_plugin_bundle(tmp_path / "b")
    _, problem, remedy = refused(lambda: build_in(bundle, tmp_path / "new"), BuildError, 5)
    assert "no plugin library for sm_87" in problem and "edgeexport plugin build" in remedy


def test_plugins_that_are_not_wanted(fake: Any, tmp_path: Path) -> None:
    bundle = write_plugin_bundle(tmp_path / "b", library_bytes())
    options = replace(OPTIONS, plugins=False)
    where, problem, remedy = refused(lambda: build_in(bundle, tmp_path / "new", options), UsageError, 2)
    assert where == "--no-plugins" and "has plugin nodes (TokenPartition)" in problem
    assert "edgeexport build RECIPE --no-plugins" in remedy
    plain = write_plugin_bundle(tmp_path / "dense", model=MODEL)  # a bundle with sources whose graph needs none
    assert build_in(plain, tmp_path / "plain", options).plugins_sha256 is None


def test_old_tensorrt_takes_plain_fp32_graphs_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = install(monkeypatch, "8.6.2")
    record = build_in(write_trt_bundle(tmp_path / "b"), tmp_path / "1")
    assert record.options["strongly_typed"] is False
    assert fake._state.builds[0]["creation"] == 1  # explicit batch, which it needs
    with_plugins = write_plugin_bundle(tmp_path / "p", library_bytes())
    where, problem, _ = refused(lambda: build_in(with_plugins, tmp_path / "2"), UsageError, 2)
    assert (where, problem) == ("TensorRT 8.6.2", "cannot load the plugins that model.trt.onnx needs")
    half = replace(OPTIONS, precision="fp16")
    _, problem, _ = refused(lambda: build_in(write_trt_bundle(tmp_path / "h"), tmp_path / "3", half), UsageError, 2)
    assert problem == "keeps no types of the graph, which is fp16"


def test_no_gpu(fake: Any, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BACKEND.unavailable() == ""
    monkeypatch.setattr(tensorrt_engine, "gpu_identity", lambda: None)
    assert BACKEND.unavailable() == "the CUDA driver shows no GPU"
    assert refused(lambda: build_in(bundle, tmp_path / "new"), UsageError, 2)[1] == "the CUDA driver shows no GPU"


def test_no_tensorrt(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert BACKEND.unavailable().startswith("tensorrt is not installed") or "does not load" in BACKEND.unavailable()
    refused(lambda: build_in(bundle, tmp_path / "new"), UsageError, 2)


# --- Options ---


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"threads": 2}, "TensorRT runs on the GPU"),
        ({"workspace_mib": 0}, "expected 1 or more"),
        ({"dla_core": -1, "precision": "fp16"}, "expected 0 or more"),
        ({"dla_core": 0}, "a deep-learning accelerator computes in half precision"),
        ({"dla_core": 0, "precision": ""}, "a deep-learning accelerator computes in half precision"),
        ({"dla_core": 0, "precision": "fp16", "target": "thor"}, "target thor has no deep-learning accelerator"),
        ({"dla_core": 0, "precision": "fp16", "target": "orin-nano"}, "target orin-nano has no deep-learning"),
    ],
)
def test_options_that_it_does_not_offer(changes: dict[str, Any], reason: str) -> None:
    BACKEND.check(OPTIONS)
    BACKEND.check(replace(OPTIONS, dla_core=1, precision="fp16", workspace_mib=64, cuda_graph=True))
    where, problem, _ = refused(lambda: BACKEND.check(replace(OPTIONS, **changes)), UsageError, 2)
    name = next(iter(changes))
    assert where == f"{name} = {changes[name]}" and problem.startswith(reason)


def accelerated(
    fake: Any, bundle: Bundle, folder: Path, ops: tuple[str, ...] = ("Cast",)
) -> tuple[EngineRecord, list[str]]:
    fake._state.dla_cores, fake._state.dla_ops = 2, ops
    stages: list[str] = []
    folder.mkdir()
    options = replace(OPTIONS, dla_core=1, precision="fp16")
    record = BACKEND.build(bundle, folder, options, stages.append)
    for name in record.files:
        made_here((folder / name).read_bytes())
        (folder / name).replace(bundle.path / name)
    return record, stages


def test_accelerator_at_build_and_load(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record, stages = accelerated(fake, bundle, tmp_path / "new")
    assert fake._state.builds[0]["device"] == "DLA"
    assert fake._state.runtime_dla == [1]  # to describe it
    runner = BACKEND.load(bundle, record)
    assert fake._state.runtime_dla == [1, 1]
    runner.node_times(IMAGE)
    assert fake._state.runtime_dla == [1, 1] and len(fake._state.engines) == 3  # in the same runtime
    assert record.options["layers_by_device"] == {"dla": 2, "gpu": 2}
    assert stages[-1] == "accelerator 1: 2 of 4 layers run there, the others on the GPU"


def test_accelerator_that_takes_nothing(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record, stages = accelerated(fake, bundle, tmp_path / "new", ())
    assert record.options["layers_by_device"] == {"dla": 0, "gpu": 4}
    assert stages[-1] == "accelerator 1: nothing runs there, all 4 layers fell back to the GPU"


def test_accelerators_share_by_the_description_alone(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    fake._state.places_told = False
    record, _ = accelerated(fake, bundle, tmp_path / "new")
    assert record.options["layers_by_device"] == {"dla": 2, "gpu": 2}
    fake._state.broken_inspector = True
    record, stages = accelerated(fake, bundle, tmp_path / "blind")
    assert record.options["layers_by_device"] is None
    assert stages[-1] == "accelerator 1: TensorRT does not tell what runs there"


def test_accelerator_where_it_is_not_documented(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record, stages = accelerated(fake, bundle, tmp_path / "new")
    documented = fake.__version__ == "11.4.1"
    assert bool(record.options["dla_note"]) == (not documented) == ("documented for TensorRT 11.4.1" in stages[0])
    assert "dla_note" not in build_in(bundle, tmp_path / "gpu").options


# --- Loading ---


def test_engine_gives_what_the_graph_gives_and_its_inner_values(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    runner = BACKEND.load(bundle, rebuilt(bundle, tmp_path / "new"))
    assert isinstance(runner, TensorRtRunner)
    assert (runner.name, runner.version) == ("tensorrt engine", fake.__version__)
    assert runner.output_names == ["scores", "best", "wide"]
    found = runner.run(IMAGE)
    np.testing.assert_array_equal(found["wide"], IMAGE.astype(np.float32))
    np.testing.assert_array_equal(found["scores"], -IMAGE.astype(np.float32))
    np.testing.assert_array_equal(found["best"].ravel(), [1, 0])


def test_inner_output_that_is_an_output_already(fake: Any, tmp_path: Path) -> None:
    bundle = write_trt_bundle(tmp_path / "b", inner_outputs=[{"name": "best", "dtype": "int32", "shape": [2]}])
    record = rebuilt(bundle, tmp_path / "new")
    assert record.options["inner_outputs"] == []
    assert BACKEND.load(bundle, record).output_names == ["scores", "best"]


def test_engine_of_another_version(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record = replace(rebuilt(bundle, tmp_path / "new"), backend_version="10.2.0")
    where, problem, remedy = refused(lambda: BACKEND.load(bundle, record))
    assert where.endswith("engine.json")
    assert problem == f"the engine was built with TensorRT 10.2.0, found {fake.__version__}"
    assert "edgeexport build" in remedy and "--target orin" in remedy


@pytest.mark.parametrize(
    "found", [None, DeviceIdentity("Orin", "aarch64", "8.6"), DeviceIdentity("Thor", "aarch64", "11.0")]
)
def test_engine_of_another_gpu(
    fake: Any, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: DeviceIdentity | None
) -> None:
    record = rebuilt(bundle, tmp_path / "new")
    monkeypatch.setattr(tensorrt_engine, "gpu_identity", lambda: found)
    _, problem, _ = refused(lambda: BACKEND.load(bundle, record))
    assert problem == f"the engine was built on {ORIN}, found {found or 'no GPU'}"


def test_engine_of_another_graph(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record = rebuilt(bundle, tmp_path / "new")
    other = write_trt_bundle(bundle.path, OTHER_MODEL)
    _, problem, _ = refused(lambda: BACKEND.load(other, record))
    assert "was built from model.trt.onnx of sha256" in problem and sha256_of(other.path / "model.trt.onnx") in problem
    assert "lists no m.onnx" in refused(lambda: BACKEND.load(other, replace(record, graph="m.onnx")))[1]


def test_engine_of_another_plugin_library(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_plugin_bundle(tmp_path / "b")
    file = cached_library(monkeypatch, tmp_path, library_bytes(tensorrt=fake.__version__))
    fake._state.plugins = {str(file): ("TokenPartition",)}
    record = rebuilt(bundle, tmp_path / "new")
    assert record.options["plugin_library"] == "cache"
    BACKEND.load(bundle, record)
    file.write_bytes(library_bytes(architectures=(86, 87)))
    made_here(file.read_bytes())
    _, problem, _ = refused(lambda: BACKEND.load(bundle, record))
    expected = (
        f"the engine was built with the plugin library of sha256 {record.plugins_sha256}, found 1 others in the cache"
    )
    assert problem == expected


def test_plugin_library_that_no_longer_loads(fake: Any, tmp_path: Path) -> None:
    library = library_bytes(tensorrt=fake.__version__)
    made_here(library)
    bundle = write_plugin_bundle(tmp_path / "b", library)
    fake._state.plugins = {str(bundle.path / "plugins" / FILE_NAME): ("TokenPartition",)}
    record = rebuilt(bundle, tmp_path / "new")
    fake._state.plugins = {}
    _, problem, _ = refused(lambda: BACKEND.load(bundle, record))
    assert problem == "TensorRT does not load it: loadLibrary: cannot open shared object file"


def test_checks_come_before_deserialising(
    fake: Any, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = rebuilt(bundle, tmp_path / "new")

    def deserialize_cuda_engine(self: object, serialized_engine: bytes) -> None:
        raise AssertionError("deserialised")

    monkeypatch.setattr(fake.Runtime, "deserialize_cuda_engine", deserialize_cuda_engine)
    for changes in (
        {"backend_version": "1.0"},
        {"graph_sha256": "ab"},
        {"plugins_sha256": "ab"},
        {"device": replace(ORIN, name="x")},
    ):
        refused(lambda changes=changes: BACKEND.load(bundle, replace(record, **changes)))
    with pytest.raises(AssertionError, match="deserialised"):
        BACKEND.load(bundle, record)


def test_file_that_is_no_engine(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record = rebuilt(bundle, tmp_path / "new")
    (bundle.path / "engine.plan").write_bytes(b"no plan")
    made_here(b"no plan")
    where, problem, _ = refused(lambda: BACKEND.load(bundle, record))
    assert where == str(bundle.path / "engine.plan")
    assert problem.startswith(f"TensorRT {fake.__version__} does not load it: The engine plan file is not compatible")


def test_engine_that_does_not_load_without_a_word(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record = rebuilt(bundle, tmp_path / "new")
    fake._state.engines_that_load = 0
    _, problem, _ = refused(lambda: BACKEND.load(bundle, record))
    assert problem == f"TensorRT {fake.__version__} does not load it: no reason given"


@pytest.mark.parametrize("changes", [{"inner_outputs": None}, {"inner_outputs": [1]}])
def test_damaged_options(fake: Any, bundle: Bundle, tmp_path: Path, changes: dict[str, Any]) -> None:
    record = rebuilt(bundle, tmp_path / "new")
    damaged = replace(record, options={**record.options, **changes})
    assert "expected a list of names" in refused(lambda: BACKEND.load(bundle, damaged))[1]


def test_engine_with_other_outputs(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record = rebuilt(bundle, tmp_path / "new")
    fewer = replace(record, options={**record.options, "inner_outputs": []})
    _, problem, _ = refused(lambda: BACKEND.load(bundle, fewer))
    assert problem == "gives scores, best, wide, the bundle's manifest says scores, best"


# --- Through engine.py ---


def test_build_and_load_through_the_engine_module(
    fake: Any, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine_module, "why_not_this_machine", lambda target: "")
    build_engine(bundle.path, options=EngineOptions(cuda_graph=True))
    result = build_engine(bundle.path, options=EngineOptions(cuda_graph=True))
    assert result.record.options["timing_cache"] == "reused" and result.record.backend == "tensorrt"
    opened = open_bundle(bundle.path)
    assert engine_record(opened) == result.record
    np.testing.assert_array_equal(load_engine(opened).run(IMAGE)["best"].ravel(), [1, 0])
    for name in ("engine.detailed.plan", "engine.plan"):
        whole = (bundle.path / name).read_bytes()
        (bundle.path / name).write_bytes(b"changed")
        where, problem, _ = refused(lambda: load_engine(opened))
        assert where == str(bundle.path / name) and "was changed after the build" in problem
        (bundle.path / name).write_bytes(whole)


def test_profile_of_an_engine_from_before_there_was_a_detailed_one(fake: Any, bundle: Bundle, tmp_path: Path) -> None:
    record = rebuilt(bundle, tmp_path / "new")
    files = {name: digest for name, digest in record.files.items() if name != "engine.detailed.plan"}
    runner = BACKEND.load(bundle, replace(record, files=files))
    assert isinstance(runner, TensorRtRunner)
    runner.node_times(IMAGE, runs=1)
    assert runner.profile_note.endswith("none with details: it was built before there was one")
