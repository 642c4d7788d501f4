"""engine.json is read as it was written, and a damaged or newer one is refused with exit code 9."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engine_cases import write_engine_bundle

from edgeexport.backends import BACKENDS
from edgeexport.backends.contract import (
    BUILT_HERE,
    ENGINE_SCHEMA,
    DeviceIdentity,
    EngineOptions,
    EngineRecord,
    check_same,
)
from edgeexport.bundle import Bundle
from edgeexport.documents import ENGINE, parsed
from edgeexport.errors import BundleError

ROOT = Path(__file__).resolve().parents[2]
WHERE = Path("b/engine.json")
RECORD = EngineRecord(
    backend="onnxruntime",
    backend_version="1.31.1",
    target="cpu",
    precision="fp32",
    graph="model.onnx",
    graph_sha256="ab" * 32,
    plugins_sha256=None,
    device=DeviceIdentity("A processor", "x86_64"),
    options=EngineOptions(target="cpu", precision="fp32", threads=2).as_dict(),
    build_seconds=1.5,
    files={"engine.onnx": "cd" * 32},
)


def refused(document: Any) -> str:
    with pytest.raises(BundleError) as caught:
        parsed(json.dumps(document), ENGINE, str(WHERE))
    assert caught.value.exit_code == 9
    assert caught.value.where.startswith(str(WHERE)) and caught.value.remedy
    return str(caught.value)


def test_record_survives_json() -> None:
    document = json.loads(json.dumps(RECORD.as_dict()))
    assert document["schema"] == ENGINE_SCHEMA
    assert document["provenance"] == BUILT_HERE == "built on this machine"
    assert document["options"]["threads"] == 2
    assert EngineRecord.from_dict(parsed(json.dumps(document), ENGINE, "")) == RECORD
    gpu = DeviceIdentity("Orin", "aarch64", "8.7")
    assert str(gpu) == "Orin (aarch64, compute capability 8.7)"
    assert EngineRecord.from_dict({**document, "device": gpu.__dict__}).device == gpu


def test_record_of_an_earlier_version_tells_no_board() -> None:
    device = {"name": "Orin", "machine": "aarch64", "compute_capability": "8.7"}
    found = EngineRecord.from_dict({**RECORD.as_dict(), "device": device}).device
    assert found == DeviceIdentity("Orin", "aarch64", "8.7", None)


AGX = DeviceIdentity("Orin", "aarch64", "8.7", "NVIDIA Jetson AGX Orin Developer Kit")
NX = DeviceIdentity("Orin", "aarch64", "8.7", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit")
HIDDEN = DeviceIdentity("Orin", "aarch64", "8.7")


def test_engine_of_another_board_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, {})
    with pytest.raises(BundleError) as caught:
        check_same(bundle, "on", NX, AGX, "build it again")
    assert caught.value.exit_code == 9 and caught.value.problem == (
        "the engine was built on Orin (aarch64, compute capability 8.7, NVIDIA Jetson AGX Orin Developer Kit), found "
        "Orin (aarch64, compute capability 8.7, NVIDIA Jetson Orin NX Engineering Reference Developer Kit)"
    )
    for same in (AGX, NX, HIDDEN):
        check_same(bundle, "on", same, same, "")
    check_same(bundle, "on", HIDDEN, AGX, "")  # in a container that hides the board
    check_same(bundle, "on", AGX, HIDDEN, "")  # recorded by an earlier version
    for other in (DeviceIdentity("Thor", "aarch64", "11.0"), DeviceIdentity("Orin", "aarch64", "8.6"), "no GPU"):
        with pytest.raises(BundleError):
            check_same(bundle, "on", other, AGX, "build it again")


def test_a_board_that_is_the_processors_name_is_told_once() -> None:
    assert str(DeviceIdentity("NVIDIA Jetson Orin NX", "aarch64", board="NVIDIA Jetson Orin NX")) == (
        "NVIDIA Jetson Orin NX (aarch64)"
    )


@pytest.mark.parametrize(
    "document", [None, [], {}, {"schema": "edgeexport.engine/2"}, {"schema": "edgeexport.bundle/1"}]
)
def test_another_schema(document: Any) -> None:
    problem = refused(document)
    found = document.get("schema") if isinstance(document, dict) else None
    assert f"schema {found!r}, this edgeexport reads 'edgeexport.engine/1'" in problem


@pytest.mark.parametrize("name", sorted(RECORD.as_dict().keys() - {"schema"}))
def test_missing_entry(name: str) -> None:
    document = RECORD.as_dict()
    del document[name]
    assert f"lacks {name}" in refused(document)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"device": None}, "engine.json: device | expected object, got null"),
        ({"device": {"name": "x"}}, "engine.json: device | lacks machine"),
        ({"options": 3}, "engine.json: options | expected object"),
        ({"options": {"threads": -1}}, "engine.json: options.threads | expected int >= 0"),
        ({"backend": ["onnxruntime"]}, "engine.json: backend | expected str, got array"),
        ({"graph_sha256": None}, "engine.json: graph_sha256 | expected str, got null"),
        ({"files": {}}, "engine.json: files | expected object of length >= 1"),
        ({"files": {"../model.onnx": "ab"}}, "engine.json: files | has characters or a length"),
        ({"files": {"engine.onnx": 7}}, "engine.json: files.engine.onnx | expected str, got int"),
        ({"files": "engine.onnx"}, "engine.json: files | expected object, got str"),
    ],
)
def test_damaged_record(changes: dict[str, Any], problem: str) -> None:
    assert problem in refused({**RECORD.as_dict(), **changes})


def test_check_same_names_found_and_expected(tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "b")
    check_same(bundle, "with ONNX Runtime", "1.31.1", "1.31.1", "again")
    with pytest.raises(BundleError) as caught:
        check_same(bundle, "with ONNX Runtime", "1.32.0", "1.31.1", "build it again")
    assert str(caught.value) == (
        f"{tmp_path / 'b' / 'engine.json'} | the engine was built with ONNX Runtime 1.31.1, found 1.32.0 | build it again"
    )


def test_backends_are_found_by_their_names() -> None:
    assert BACKENDS
    for name, backend in BACKENDS.items():
        assert backend.name == name
        assert isinstance(backend.unavailable(), str)


@pytest.mark.parametrize("first", ["edgeexport.bundle", "edgeexport.backends", "edgeexport.backends.engine"])
def test_importing_loads_no_runtime(first: str) -> None:
    """Whichever of the modules comes first: bundle.py imports the package backends, whose modules need bundles."""
    code = (
        f"import sys, {first}, edgeexport.bundle, edgeexport.backends, edgeexport.backends.engine\n"
        "loaded = {'onnxruntime', 'tensorrt', 'tensorrt_rtx_bindings', 'polygraphy', 'torch', 'onnx'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
