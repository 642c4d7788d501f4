"""``edgeexport plugin``: JSON alone on standard output, exit codes, messages; and that it needs neither torch nor onnx."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_cases import fake_search, real_toolkit, write_headers, write_library, write_sources
from shared_cases import CommandResult

from edgeexport.bundle import sha256_of
from edgeexport.graph.plugin_graph import PLUGIN_OPS
from edgeexport.plugin import command
from edgeexport.plugin.build_record import facts_from_library
from edgeexport.plugin.sources import source_hash, sources_folder
from edgeexport.plugin.trust import remember_made_here

Command = Callable[..., CommandResult]
PACKAGE = Path(__file__).resolve().parents[2] / "edgeexport"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TENSORRT_INCLUDE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources that compile in seconds stand in for the plugins."""
    real_toolkit()
    sources = write_sources(tmp_path / "src")
    monkeypatch.setattr(command, "sources_folder", lambda: sources)
    return sources


def test_build_in_json(edgeexport: Command, small_sources: Path, tmp_path: Path) -> None:
    headers = write_headers(tmp_path / "include")
    arguments = ("plugin", "build", "--tensorrt-include", headers, "--json")
    result = edgeexport(*arguments)
    document = json.loads(result.out)
    assert result.code == 0
    library = Path(document["library"])
    assert library == tmp_path / "work_dirs/plugins/sm_87/libedgeexport_plugins.so"
    assert facts_from_library(library).architectures == (87,)
    assert (document["architectures"], document["tensorrt_headers"]) == ([87], "10.14.1")
    assert document["source_hash"] == source_hash(small_sources) and document["cuda"]
    assert "... compiled add/add.cu (" in result.err
    again = edgeexport(*arguments, "--cuda-arch", 87, "--target", "thor", "--out", tmp_path / "out/my.so")
    assert json.loads(again.out)["seconds"] is None
    assert (tmp_path / "out/my.so").read_bytes() == library.read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["my.so"]


def test_build_for_several_architectures(edgeexport: Command, small_sources: Path, tmp_path: Path) -> None:
    headers = write_headers(tmp_path / "include")
    result = edgeexport("plugin", "build", "--cuda-arch", 90, "--cuda-arch", 86, "--tensorrt-include", headers)
    assert result.code == 0 and "sm_86, sm_90" in result.out
    assert (tmp_path / "work_dirs/plugins/sm_86_90/libedgeexport_plugins.so").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "orion"), "did you mean 'orin'?"),
        (("--target", "cpu"), "does not use TensorRT"),
        (("--target", "cpu", "--cuda-arch", 87), "does not use TensorRT"),
        (("--cuda-arch", 8), "--cuda-arch 8 | is no compute capability | write 8.7 as 87"),
        (("--tensorrt-include", "nowhere"), "--tensorrt-include nowhere | is no folder"),
    ],
)
def test_arguments_that_do_not_fit(edgeexport: Command, arguments: tuple[object, ...], message: str) -> None:
    result = edgeexport("plugin", "build", *arguments, "--json")
    assert (result.code, json.loads(result.out)["error"]["exit_code"]) == (2, 2)
    assert message in result.err and len(result.err.strip().splitlines()) == 1


def test_architecture_that_nvcc_does_not_know(edgeexport: Command, small_sources: Path, tmp_path: Path) -> None:
    headers = write_headers(tmp_path / "include")
    result = edgeexport("plugin", "build", "--cuda-arch", 999, "--tensorrt-include", headers)
    assert result.code == 2 and "--cuda-arch 999 | nvcc" in result.err


def test_missing_toolkit(edgeexport: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "Search", lambda: fake_search(tmp_path))
    result = edgeexport("plugin", "build", "--json")
    assert (result.code, json.loads(result.out)["error"]["kind"]) == (5, "BuildError")
    assert "found no nvcc on PATH" in result.err and "CUDA_HOME" in result.err


def test_out_that_cannot_be_written(edgeexport: Command, small_sources: Path, tmp_path: Path) -> None:
    headers = write_headers(tmp_path / "include")
    result = edgeexport("plugin", "build", "--tensorrt-include", headers, "--out", tmp_path)
    assert result.code == 2 and "is a folder, expected the file to write" in result.err
    (tmp_path / "file").write_text("")
    result = edgeexport("plugin", "build", "--tensorrt-include", headers, "--out", tmp_path / "file/lib.so")
    assert result.code == 5 and "choose another --out" in result.err


def test_list(edgeexport: Command, tmp_path: Path) -> None:
    result = edgeexport("plugin", "list", "--json")
    document = json.loads(result.out)
    assert {item["name"] for item in document["plugins"]} == PLUGIN_OPS
    assert document["libraries"] == []
    assert "no library is built yet" in edgeexport("plugin", "list").out
    folder = tmp_path / "cache/edgeexport/libraries"
    made_here = [
        write_library(folder / "a/libedgeexport_plugins.so", source_hash=source_hash(sources_folder())),
        write_library(folder / "b/libedgeexport_plugins.so", architectures="86, 90"),
    ]
    remember_made_here({path.parent.name: sha256_of(path) for path in made_here})
    write_library(folder / "d/libedgeexport_plugins.so", architectures="75")  # of whom nobody knows
    (folder / "c").mkdir()
    (folder / "c/libedgeexport_plugins.so").write_text("damaged")
    listed = json.loads(edgeexport("plugin", "list", "--json").out)["libraries"]
    assert [(item["architectures"], item["current"]) for item in listed] == [([87], True), ([86, 90], False)]
    text = edgeexport("plugin", "list").out
    assert "edgeexport::TokenPartition 1: k (int)" in text and "sm_86, sm_90 | TensorRT 10.14.1 headers" in text
    one = json.loads(edgeexport("plugin", "list", folder / "b/libedgeexport_plugins.so", "--json").out)["libraries"]
    assert [item["architectures"] for item in one] == [[86, 90]]
    result = edgeexport("plugin", "list", folder / "c/libedgeexport_plugins.so")
    assert result.code == 9 and "no ELF header" in result.err


def test_plugin_package_needs_neither_torch_nor_onnx() -> None:
    names = [f"edgeexport.plugin.{path.stem}" for path in (PACKAGE / "plugin").glob("*.py") if path.stem != "__init__"]
    code = f"""
import importlib, sys
for name in {[*names, "edgeexport.cli.plugin", "edgeexport.commands.doctor"]!r}: importlib.import_module(name)
print(sorted({{"torch", "onnx", "timm", "mmengine"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
