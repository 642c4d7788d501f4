from __future__ import annotations

from measured_cases import engine
from report_cases import manifest

from edgeexport.backends.contract import BUILT_HERE, EngineRecord
from edgeexport.report.engine_view import EngineView, engine_view


def _view(cache: str = "", **changes: object) -> EngineView:
    return engine_view(EngineRecord.from_dict(engine(**changes)), manifest(), cache)


def test_an_engine_from_another_host_says_so() -> None:
    view = _view()
    assert view.summary == (
        "engine.plan: tensorrt 10.3.0, fp32, for orin, built on jetson.example over ssh: "
        "TEST DATA Orin (aarch64, compute capability 8.7)"
    )
    facts = dict(view.facts)
    assert facts["engine's graph"] == f"model.onnx, sha256 {'ab' * 32}"
    assert facts["engine's plugin library"] == f"sha256 {'12' * 32}" and facts["engine's build"] == "61.2 s"
    assert facts["engine's options"] == "target = orin, precision = fp32, plugins = True, cuda_graph = True"


def test_a_page_that_travels_names_the_machine() -> None:
    view = _view(provenance=BUILT_HERE)
    assert "this machine" not in view.summary and "built on TEST DATA Orin (aarch64" in view.summary


def test_the_timing_cache_is_hashed() -> None:
    assert dict(_view().files) == {"engine.plan": "34" * 32, "timing.cache": "56" * 32}
    alone = _view("78" * 32, files={"engine.plan": "34" * 32})
    assert dict(alone.files) == {"engine.plan": "34" * 32, "timing.cache": "78" * 32}


def test_an_engine_of_another_graph_is_a_warning() -> None:
    assert _view().warning == ""
    assert _view(graph_sha256="cd" * 32).warning.startswith("built from another model.onnx")
    assert _view(graph="unknown.onnx").warning == ""
    assert dict(_view(plugins_sha256=None).facts)["engine's plugin library"] == "none needed"
