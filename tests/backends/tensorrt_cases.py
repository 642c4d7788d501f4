"""Bundles, machines and plugin libraries for the tests of the TensorRT backend."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from cudart_stub import StubCudart
from engine_cases import MODEL, write_engine_bundle
from fake_tensorrt import fake_tensorrt
from onnx import parser

from edgeexport.backends import tensorrt_engine, tensorrt_plugins
from edgeexport.backends.contract import DeviceIdentity, EngineOptions, EngineRecord
from edgeexport.backends.tensorrt_engine import TensorRtBackend
from edgeexport.bundle import Bundle, hashes_of
from edgeexport.plugin.build_record import FILE_NAME, MARKER
from edgeexport.plugin.sources import copy_sources, source_hash, sources_folder
from edgeexport.plugin.trust import remember_made_here

__all__ = [
    "BACKEND",
    "OPTIONS",
    "ORIN",
    "PLUGIN_MODEL",
    "build_in",
    "cached_library",
    "install",
    "library_bytes",
    "made_here",
    "rebuilt",
    "write_plugin_bundle",
    "write_trt_bundle",
]

BACKEND = TensorRtBackend()
OPTIONS = EngineOptions(target="orin", precision="fp32")
ORIN = DeviceIdentity("Orin", "aarch64", "8.7")

PLUGIN_MODEL = parser.parse_model("""<ir_version: 9, opset_import: ["": 20, "edgeexport": 1]>
g (uint8[2,3] image) => (float[2,3] scores, int32[2] best) {
    wide = Cast <to = 1> (image)
    scores = edgeexport.TokenPartition <plugin_version: string = "1", plugin_namespace: string = "edgeexport"> (wide)
    index = ArgMax <axis = 1, keepdims = 0> (wide)
    best = Cast <to = 6> (index)
}""").SerializeToString()


def install(
    monkeypatch: pytest.MonkeyPatch, version: str = "10.3.0", stub: StubCudart | None = None, machine: str = "aarch64"
) -> Any:
    """Puts the fake in the place of TensorRT, on a device that is an Orin."""
    fake = fake_tensorrt(version, stub)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(tensorrt_engine, "gpu_identity", lambda: ORIN)
    monkeypatch.setattr(tensorrt_plugins.platform, "machine", lambda: machine)
    if stub is not None:
        monkeypatch.setattr(tensorrt_engine, "open_cuda", lambda: stub.runtime)
    return fake


def write_trt_bundle(folder: Path, model: bytes = MODEL, **changes: Any) -> Bundle:
    """A bundle for orin whose model.trt.onnx is ``model``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.trt.onnx").write_bytes(model)
    (folder / "model.onnx").write_bytes(MODEL)
    files = hashes_of(folder, ["model.onnx", "model.trt.onnx"])
    return write_engine_bundle(folder, **{"target": "orin", "plugins": False, "files": files, **changes})


def write_plugin_bundle(
    folder: Path, library: bytes | None = None, model: bytes = PLUGIN_MODEL, **changes: Any
) -> Bundle:
    """Likewise with plugin nodes and the plugins' sources; ``library`` is the compiled one, None for none."""
    copy_sources(sources_folder(), folder / "plugins")
    if library is not None:
        (folder / "plugins" / FILE_NAME).write_bytes(library)
    return write_trt_bundle(folder, model, **{"plugins": True, **changes})


def library_bytes(
    *, architectures: tuple[int, ...] = (87,), tensorrt: str = "10.14.1", sources: str | None = None, machine: int = 183
) -> bytes:
    """What the record of a compiled library looks like in its file; 183 is aarch64."""
    digest = source_hash(sources_folder()) if sources is None else sources
    facts = {"architectures": list(architectures), "tensorrt": tensorrt, "cuda": 12060, "source_hash": digest}
    header = b"\x7fELF" + bytes(14) + struct.pack("<H", machine)
    return header + MARKER + json.dumps(facts).encode() + b"\0"


def cached_library(monkeypatch: pytest.MonkeyPatch, home: Path, content: bytes) -> Path:
    """Puts a library into a cache, which becomes the user's, as if it had been compiled there."""
    file = home / "edgeexport" / "libraries" / "abc" / FILE_NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    made_here(content)
    return file


def made_here(*contents: bytes) -> None:
    """Makes them files that edgeexport made on this machine."""
    remember_made_here({f"file {index}": hashlib.sha256(content).hexdigest() for index, content in enumerate(contents)})


def build_in(bundle: Bundle, folder: Path, options: EngineOptions = OPTIONS) -> EngineRecord:
    """Builds into a folder of its own."""
    folder.mkdir()
    return BACKEND.build(bundle, folder, options, lambda name: None)


def rebuilt(bundle: Bundle, folder: Path, options: EngineOptions = OPTIONS) -> EngineRecord:
    """Likewise, and puts the files into the bundle as `engine.build_engine` does."""
    record = build_in(bundle, folder, options)
    remember_made_here(record.files)
    for name in record.files:
        (folder / name).replace(bundle.path / name)
    return record
