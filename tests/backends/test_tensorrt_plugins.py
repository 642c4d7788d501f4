"""Which plugin library an engine gets, and how it is loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from engine_cases import MODEL
from tensorrt_cases import cached_library, install, library_bytes, made_here, write_plugin_bundle, write_trt_bundle

from edgeexport.backends import tensorrt_plugins
from edgeexport.backends.tensorrt_plugins import (
    PluginLibrary,
    library_for_build,
    library_of_engine,
    load_plugins,
    plugin_ops,
)
from edgeexport.bundle import Bundle
from edgeexport.errors import BuildError, BundleError
from edgeexport.plugin.build_record import FILE_NAME

OPS = ("TokenPartition",)
LIBRARY = library_bytes()


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tensorrt_plugins.platform, "machine", lambda: "aarch64")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))


def chosen(bundle: Bundle, tensorrt: str = "10.3.0") -> PluginLibrary:
    return library_for_build(bundle, OPS, tensorrt=tensorrt, compute_capability="8.7")


def refused(bundle: Bundle, tensorrt: str = "10.3.0") -> BuildError:
    with pytest.raises(BuildError) as caught:
        chosen(bundle, tensorrt)
    assert caught.value.exit_code == 5 and caught.value.where == str(bundle.path / "plugins" / FILE_NAME)
    assert "edgeexport plugin build --cuda-arch 87" in caught.value.remedy and "--no-plugins" in caught.value.remedy
    return caught.value


# --- What a graph needs ---


def test_ops_of_a_graph(tmp_path: Path) -> None:
    bundle = write_plugin_bundle(tmp_path / "b")
    assert plugin_ops(bundle, "model.trt.onnx") == OPS
    assert plugin_ops(bundle, "model.onnx") == ()


def test_bundle_without_plugins(tmp_path: Path) -> None:
    assert plugin_ops(write_trt_bundle(tmp_path / "b"), "model.trt.onnx") == ()
    assert plugin_ops(write_plugin_bundle(tmp_path / "dense", model=MODEL), "model.trt.onnx") == ()


# --- Which library ---


def test_bundles_own_library_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_plugin_bundle(tmp_path / "b", LIBRARY)
    file = cached_library(monkeypatch, tmp_path, library_bytes(architectures=(86, 87)))
    assert chosen(bundle).path == file  # the bundle's may be anybody's
    made_here(LIBRARY)
    found = chosen(bundle)
    assert (found.path, found.place, found.ops) == (bundle.path / "plugins" / FILE_NAME, "bundle", OPS)
    assert found.sha256 == hashlib.sha256(LIBRARY).hexdigest()


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (library_bytes(machine=62), "is a library for x86_64, this device is aarch64"),
        (library_bytes(architectures=(86,)), "was compiled for sm_86, the GPU needs sm_87"),
        (library_bytes(sources="ab" * 32), "was compiled from other sources (abababababab)"),
        (library_bytes(tensorrt="11.4.1"), "was compiled with the headers of TensorRT 11.4.1, TensorRT 10.3.0 is to"),
    ],
)
def test_cached_library_where_the_bundles_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bytes, reason: str
) -> None:
    bundle = write_plugin_bundle(tmp_path / "b", own)
    assert f"the bundle {reason}" in refused(bundle).problem
    file = cached_library(monkeypatch, tmp_path, LIBRARY)
    assert (chosen(bundle).path, chosen(bundle).place) == (file, "cache")
    file.write_bytes(own)
    made_here(own)
    assert f"a cached one {reason}" in refused(bundle).problem


def test_no_library_at_all(tmp_path: Path) -> None:
    error = refused(write_plugin_bundle(tmp_path / "b"))
    assert error.problem == (
        "no plugin library for sm_87, TensorRT 10.3.0 and aarch64: neither the bundle nor the cache has a compiled one"
    )


def test_library_that_is_none(tmp_path: Path) -> None:
    assert "neither the bundle nor the cache" in refused(write_plugin_bundle(tmp_path / "b", b"no library")).problem


def test_bundle_of_other_sources(tmp_path: Path) -> None:
    """`edgeexport plugin build` of this version would compile others than the bundle's."""
    bundle = write_plugin_bundle(tmp_path / "b", LIBRARY)
    file = next((bundle.path / "plugins").glob("*/*_plugin.cpp"))
    file.write_text(file.read_text() + "// newer\n")
    assert "the bundle is from another version of edgeexport" in refused(bundle).remedy


def test_library_of_an_engine_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_plugin_bundle(tmp_path / "b", LIBRARY)
    own = hashlib.sha256(LIBRARY).hexdigest()
    assert library_of_engine(bundle, own) == (bundle.path / "plugins" / FILE_NAME, own)
    other = library_bytes(architectures=(86, 87))
    assert library_of_engine(bundle, hashlib.sha256(other).hexdigest()) == (None, own)
    file = cached_library(monkeypatch, tmp_path, other)
    digest = hashlib.sha256(other).hexdigest()
    assert library_of_engine(bundle, digest) == (file, digest)
    bare = write_plugin_bundle(tmp_path / "bare")
    assert library_of_engine(bare, own) == (None, "1 others in the cache")
    file.unlink()
    assert library_of_engine(bare, own) == (None, "none")


# --- Into the registry ---


@pytest.mark.parametrize("version", ["10.3.0", "11.4.1"])
def test_registry(version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = install(monkeypatch, version)
    file = str(tmp_path / FILE_NAME)
    fake._state.plugins = {file: ("TokenMatch", "TokenPartition"), "partial.so": ("TokenMatch",)}
    registry = _registry(fake)
    load_plugins(registry, Path(file), OPS, lambda: "")
    assert fake._state.loaded == [("builder", file)]
    # The same plugins again, into the same registry: TensorRT would answer with null and no word on which.
    with pytest.raises(BundleError, match="already registered in this process: edgeexport::TokenPartition 1"):
        load_plugins(registry, Path(file), OPS, lambda: "")
    load_plugins(_registry(fake), Path(file), OPS, lambda: "")  # each builder and runtime has its own
    with pytest.raises(BuildError, match="was loaded and registers no TokenPartition"):
        load_plugins(_registry(fake), Path("partial.so"), OPS, lambda: "")
    with pytest.raises(BuildError) as caught:
        load_plugins(_registry(fake), Path("gone.so"), OPS, lambda: "cannot open shared object file")
    assert caught.value.problem == "TensorRT does not load it: cannot open shared object file"


def test_plugins_of_the_parent_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another package loaded them for the whole process. 11.x tells; 10.3 answers with null."""
    for version, error, text in (
        ("11.4.1", BundleError, "already registered in this process"),
        ("10.3.0", BuildError, "TensorRT does not load it: plugin creator exists already"),
    ):
        fake = install(monkeypatch, version)
        file = str(tmp_path / FILE_NAME)
        fake._state.plugins, fake._state.parent = {file: OPS}, list(OPS)
        with pytest.raises(error, match=text):
            load_plugins(_registry(fake), Path(file), OPS, lambda: "plugin creator exists already")


def _registry(fake: Any) -> Any:
    class Logger(fake.ILogger):
        def log(self, severity: Any, msg: str) -> None:
            pass

    return fake.Builder(Logger()).get_plugin_registry()
