"""The build with a TensorRT as documented: what it is asked for, what it refuses, and what is done about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_cases import MODEL
from tensorrt_cases import install

from edgeexport.backends.tensorrt_api import installed_tensorrt
from edgeexport.backends.tensorrt_build import BuildRequest, BuiltPlan, build_plan
from edgeexport.backends.tensorrt_log import EngineLog
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError, UsageError
from edgeexport.profile.traces import engine_layers_from_json

WIDE = TensorInfo("wide", "float32", (2, 3))


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    (tmp_path / "model.trt.onnx").write_bytes(MODEL)
    return BuildRequest(tmp_path / "model.trt.onnx", (WIDE,))


@pytest.fixture(params=["10.3.0", "11.4.1"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    return install(monkeypatch, request.param)


def build(request: BuildRequest, log: EngineLog | None = None) -> BuiltPlan:
    return build_plan(installed_tensorrt(), request, log or EngineLog(), lambda name: None)


def refused(request: BuildRequest) -> BuildError:
    with pytest.raises(BuildError) as caught:
        build(request)
    assert caught.value.exit_code == 5 and caught.value.remedy and "\n" not in str(caught.value)
    return caught.value


def test_what_tensorrt_is_asked_for(fake: Any, request_: BuildRequest) -> None:
    built = build(replace(request_, workspace_mib=512))
    timed, detailed = fake._state.builds
    assert timed["creation"] == (1 if fake.__version__.startswith("11") else 2)  # strongly typed, by each one's own bit
    assert timed["verbosity"] == "LAYER_NAMES_ONLY" and detailed["verbosity"] == "DETAILED"
    assert timed["flags"] == []  # TF32, on by default, was cleared
    assert timed["limits"] == {"WORKSPACE": 512 << 20}
    assert timed["device"] == "GPU"
    assert b'"LAYER_NAMES_ONLY"' in built.plan and b"DETAILED" not in built.plan
    assert b'"DETAILED"' in built.detailed and built.layers_by_device is None
    assert {**timed, "verbosity": "", "cache": ""} == {**detailed, "verbosity": "", "cache": ""}
    build(request_)
    assert fake._state.builds[-1]["limits"] == {}


def test_inner_outputs_are_outputs(fake: Any, request_: BuildRequest) -> None:
    build(request_)
    engine = fake.Runtime(_logger(fake)).deserialize_cuda_engine(build(request_).plan)
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    assert names == ["image", "scores", "best", "wide"]


def test_description_is_what_the_profile_reads(fake: Any, request_: BuildRequest) -> None:
    built = build(request_)
    assert built.description_note == ""
    found = engine_layers_from_json(built.description)
    assert [layer.layer_type for layer in found.layers] == ["Cast", "Neg", "ArgMax", "Cast"]
    assert found.tensors == ("image", "scores", "best", "wide")
    assert ("I/O Tensors" in json.loads(built.description)) == fake.__version__.startswith("11")


def test_engine_without_a_description(fake: Any, request_: BuildRequest) -> None:
    fake._state.broken_inspector = True
    built = build(request_)
    assert built.plan and (built.description, built.description_note) == ("", "the engine inspector gave nothing")
    assert built.detailed == b""


def test_second_engine_that_does_not_fit_costs_the_description_alone(fake: Any, request_: BuildRequest) -> None:
    fake._state.builds_that_fit = 1
    built = build(request_)
    assert built.plan and built.description == ""
    assert built.description_note.startswith(
        f"{request_.graph} TensorRT {fake.__version__} gave no engine: Could not find"
    )


def test_log_is_kept_without_its_verbose_lines(fake: Any, request_: BuildRequest) -> None:
    log = EngineLog()
    build(request_, log)
    assert log.text() == "INFO: Engine generation completed\n" * 2


def test_each_build_has_its_own_log_though_tensorrt_has_one_logger(fake: Any, request_: BuildRequest) -> None:
    first, second = EngineLog(), EngineLog()
    build(request_, first)
    build(request_, second)
    assert first.text() == second.text() == "INFO: Engine generation completed\n" * 2


def test_lines_that_tell_where_a_layer_runs_are_kept() -> None:
    log = EngineLog()
    assert log.layers_by_device() is None
    for severity, message in (
        ("VERBOSE", "---------- Layers Running on DLA ----------"),
        ("VERBOSE", "[DlaLayer] {ForeignNode[a...b]}"),
        ("INFO", "[GpuLayer] CONVOLUTION: c"),
        ("VERBOSE", "[GpuLayer] SOFTMAX: d"),
    ):
        log.add(severity, message)
    assert log.layers_by_device() == {"dla": 1, "gpu": 2} and len(log.lines) == 3
    assert log.layers_by_device(2) == {"dla": 0, "gpu": 1} and log.layers_by_device(3) is None


# --- Timing cache ---


def test_second_engine_takes_the_timings_of_the_first(fake: Any, request_: BuildRequest) -> None:
    built = build(request_)
    timed, detailed = fake._state.builds
    assert timed["cache"] == ""
    assert detailed["cache"] == f"cache of {fake.__version__} after 1 builds"
    assert built.timing_cache.decode() == detailed["cache"] and built.cache_note == ""


@pytest.mark.parametrize("warns", [False, True])
def test_earlier_cache_is_used(fake: Any, request_: BuildRequest, warns: bool) -> None:
    fake._state.warns_about_caches = warns  # of something else: it takes the cache
    earlier = f"cache of {fake.__version__} before"
    built = build(replace(request_, timing_cache=earlier.encode()))
    assert fake._state.builds[0]["cache"] == earlier and built.cache_note == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"cache of 8.6.2 before", "TensorRT refused it: it is of another version or device"),
        (b"\0garbage", "Failed to deserialize timing cache. Returning an empty timing cache."),
    ],
)
def test_cache_that_does_not_fit(fake: Any, request_: BuildRequest, content: bytes, reason: str) -> None:
    built = build(replace(request_, timing_cache=content))
    assert built.cache_note == reason
    assert fake._state.builds[0]["cache"] == ""
    assert built.timing_cache.startswith(b"cache of " + fake.__version__.encode())


# --- DLA ---


def test_accelerator_with_fallback(fake: Any, request_: BuildRequest) -> None:
    fake._state.dla_cores = 2
    build(replace(request_, dla_core=1))
    assert fake._state.runtime_dla == [1]  # the second engine is loaded there to be described
    for asked in fake._state.builds:
        assert (asked["device"], asked["dla_core"], asked["flags"]) == ("DLA", 1, ["GPU_FALLBACK"])


@pytest.mark.parametrize(("cores", "found"), [(0, "there is none"), (2, "there are 2 (0 to 1)")])
def test_no_such_accelerator(fake: Any, request_: BuildRequest, cores: int, found: str) -> None:
    fake._state.dla_cores = cores
    with pytest.raises(UsageError) as caught:
        build(replace(request_, dla_core=2))
    assert caught.value.where == "dla_core = 2" and caught.value.problem.endswith(found)
    assert not fake._state.builds


# --- Refusals ---


def test_refused_node_is_named(fake: Any, tmp_path: Path) -> None:
    model = MODEL.replace(b"Neg", b"Abs")
    graph = tmp_path / "model.trt.onnx"
    graph.write_bytes(model)
    fake._state.refused_op = "Abs"
    error = refused(BuildRequest(graph))
    assert error.where == f"{graph}: node 1 (Abs)"  # the node has no name
    assert error.problem == (
        f"TensorRT {fake.__version__} refuses it: No importer registered for op: Abs. Plugin not found"
    )


def test_refused_node_with_a_name(fake: Any, tmp_path: Path) -> None:
    import onnx

    model = onnx.load_from_string(MODEL)
    model.graph.node[0].name = "block3/cast"
    graph = tmp_path / "model.trt.onnx"
    graph.write_bytes(model.SerializeToString())
    fake._state.refused_op = "Cast"
    assert refused(BuildRequest(graph)).where == f"{graph}: node 'block3/cast' (Cast)"


def test_parser_without_names_of_nodes(fake: Any, request_: BuildRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in older releases."""
    monkeypatch.delattr(fake.ParserError, "node_name")
    monkeypatch.delattr(fake.ParserError, "node_operator")
    fake._state.refused_op = "Neg"
    assert refused(request_).where == f"{request_.graph}: node 1"


def test_no_onnx_file(fake: Any, tmp_path: Path) -> None:
    (tmp_path / "model.trt.onnx").write_bytes(b"no graph")
    error = refused(BuildRequest(tmp_path / "model.trt.onnx"))
    assert error.problem == f"TensorRT {fake.__version__} does not parse it: Failed to parse the ONNX model."


def test_inner_output_that_the_graph_lacks(fake: Any, request_: BuildRequest) -> None:
    assert (
        "does not parse it" in refused(replace(request_, inner_outputs=(TensorInfo("nothing", "int32", (1,)),))).problem
    )


def test_out_of_memory(fake: Any, request_: BuildRequest) -> None:
    fake._state.builds_that_fit = 0
    error = refused(replace(request_, workspace_mib=512))
    assert error.problem == (
        f"TensorRT {fake.__version__} gave no engine within 512 MiB of workspace: Could not find any implementation for "
        "node wide: tactic needs 4096 MiB, 512 available"
    )
    assert "--workspace" in error.remedy


def test_build_that_raises(fake: Any, request_: BuildRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_serialized_network(self: object, network: object, config: object) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(fake.Builder, "build_serialized_network", build_serialized_network)
    assert refused(request_).problem.endswith("gave no engine: std::bad_alloc")


def test_tensorrt_that_does_not_start(fake: Any, request_: BuildRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_builder(self: object, logger: Any) -> None:
        logger.log(fake.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(fake.Builder, "__init__", no_builder)
    error = refused(request_)
    assert error.problem == "does not start (Builder): CUDA initialization failure with error: 35"


def test_nothing_is_printed(fake: Any, request_: BuildRequest, capfd: pytest.CaptureFixture[str]) -> None:
    """`--json` has one object on standard output and nothing else."""
    build(replace(request_, workspace_mib=1))
    assert capfd.readouterr() == ("", "")


def _logger(fake: Any) -> Any:
    class Logger(fake.ILogger):
        def log(self, severity: Any, msg: str) -> None:
            raise AssertionError(msg)

    return Logger()
