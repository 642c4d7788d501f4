"""Plugins in a bundle: always the sources, the library or the reason, and nothing of this machine in the manifest."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from plugin_cases import (
    GXX,
    fake_search,
    real_headers,
    real_toolkit,
    write_headers,
    write_sources,
    write_toolkit,
)

from edgeexport.device.targets import TARGETS
from edgeexport.plugin import bundle
from edgeexport.plugin.build_record import facts_from_library
from edgeexport.plugin.bundle import bundle_plugins, plugin_files
from edgeexport.plugin.search import Search
from edgeexport.plugin.sources import source_hash, sources_folder

KEYS = {
    "status",
    "reason",
    "library",
    "architectures",
    "tensorrt_headers",
    "cuda",
    "machine",
    "source_hash",
}


def test_without_a_toolkit_sources_and_reason(tmp_path: Path) -> None:
    found = bundle_plugins(tmp_path, TARGETS["orin"], search=fake_search(tmp_path / "machine"))
    assert set(found) == KEYS
    assert (found["status"], found["library"], found["architectures"]) == ("not-built", None, [87])
    assert str(found["reason"]).startswith("CUDA toolkit: found no nvcc on PATH")
    assert found["source_hash"] == source_hash(tmp_path / "plugins") == source_hash(sources_folder())
    files = plugin_files(tmp_path)
    assert {"plugins/CMakeLists.txt", "plugins/registry.cpp"} <= set(files) and files == sorted(files)
    assert not [name for name in files if name.endswith(".so")]


def test_without_headers_the_reason_names_them(tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    answers = {"g++ --version": GXX, **write_toolkit(machine / "usr/local/cuda")}
    search = fake_search(machine, answers, programs={"g++": "/usr/bin/g++"})
    found = bundle_plugins(tmp_path, TARGETS["thor"], search=search)
    assert found["status"] == "not-built" and found["architectures"] == [110]
    assert "TensorRT headers: found no NvInfer.h" in str(found["reason"])
    assert "`edgeexport plugin headers` fetches them" in str(found["reason"])


def test_targets_without_tensorrt_or_without_a_gpu(tmp_path: Path) -> None:
    found = bundle_plugins(tmp_path / "cpu", TARGETS["cpu"], search=fake_search(tmp_path))
    assert set(found) == KEYS and found["reason"] == "target cpu does not use TensorRT"
    assert not (tmp_path / "cpu").exists() and plugin_files(tmp_path / "cpu") == []
    found = bundle_plugins(tmp_path / "gpu", TARGETS["gpu"], search=fake_search(tmp_path))
    assert "so the architecture is unknown" in str(found["reason"]) and plugin_files(tmp_path / "gpu")


def test_small_library_goes_into_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_toolkit()
    sources = write_sources(tmp_path / "src")
    monkeypatch.setattr(bundle, "sources_folder", lambda: sources)
    headers = write_headers(tmp_path / "include")
    search = Search(environ={"TENSORRT_INCLUDE": str(headers)}, cache=tmp_path / "cache")
    found = [bundle_plugins(tmp_path / name, TARGETS["orin"], search=search) for name in "ab"]
    assert found[0] == found[1] and set(found[0]) == KEYS
    assert (found[0]["status"], found[0]["reason"]) == ("built", "")
    assert (found[0]["architectures"], found[0]["tensorrt_headers"]) == ([87], "10.14.1")
    assert str(tmp_path) not in json.dumps(found[0])
    facts = facts_from_library(tmp_path / "a" / str(found[0]["library"]))
    assert facts.source_hash == found[0]["source_hash"] == source_hash(tmp_path / "a/plugins")
    own = f"{'' if platform.machine() == 'aarch64' else f'{platform.machine()}-'}libedgeexport_plugins.so"
    assert found[0]["library"] == f"plugins/{own}" in plugin_files(tmp_path / "a"), (
        "another name where no device loads it"
    )
    # What fails to compile is a reason as well, in one line and without the compiler's whole log.
    (sources / "registry.cpp").write_text("int broken(")
    broken = bundle_plugins(tmp_path / "c", TARGETS["orin"], search=search)
    assert broken["status"] == "not-built" and str(broken["reason"]).startswith(
        "registry.cpp: does not compile registry.cpp:1"
    )
    assert "\n" not in str(broken["reason"])


def test_library_of_the_plugins_in_a_bundle(tmp_path: Path) -> None:
    real_toolkit()
    real_headers()
    found = bundle_plugins(tmp_path, TARGETS["orin"])
    assert (found["status"], found["reason"]) == ("built", "")
    assert facts_from_library(tmp_path / str(found["library"])).architectures == (87,)
