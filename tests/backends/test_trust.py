"""Native code from elsewhere is not loaded unless the user names it, whatever stands beside it in a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cudart_stub import StubCudart, requires_compiler
from engine_cases import IMAGE, write_engine_bundle
from shared_cases import CommandResult
from tensorrt_cases import (
    BACKEND,
    OPTIONS,
    build_in,
    cached_library,
    install,
    library_bytes,
    made_here,
    rebuilt,
    write_plugin_bundle,
    write_trt_bundle,
)

from edgeexport.backends.contract import BUILT_HERE
from edgeexport.backends.engine import build_engine, engine_record, load_engine, runner_from_bundle
from edgeexport.backends.tensorrt_runner import TensorRtRunner
from edgeexport.bundle import hashes_of, open_bundle
from edgeexport.errors import BundleError, EdgeExportError, UsageError
from edgeexport.plugin.build_record import FILE_NAME
from edgeexport.plugin.trust import TRUST_VARIABLE, is_trusted, trusting
from edgeexport.remote.commands import _trust_arguments

Command = Callable[..., CommandResult]
LIBRARY = library_bytes()
SHA256 = hashlib.sha256(LIBRARY).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    return tmp_path / "mine/edgeexport"


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on this is another user, or another machine of the same kind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))


def refused(action: Callable[[], object], sha256: str) -> EdgeExportError:
    with pytest.raises(BundleError) as caught:
        action()
    assert caught.value.exit_code == 9 and sha256 in caught.value.problem
    assert f"--trust {sha256}" in caught.value.remedy
    return caught.value


# --- Plugin libraries ---


def test_library_of_a_stranger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its record fits, and the manifest has its hash: both are written by whoever made the bundle."""
    fake = install(monkeypatch)
    bundle = write_plugin_bundle(tmp_path / "b", LIBRARY)
    file = str(bundle.path / "plugins" / FILE_NAME)
    fake._state.plugins = {file: ("TokenPartition",)}
    error = refused(lambda: build_in(bundle, tmp_path / "1"), SHA256)
    assert error.where == file and "edgeexport plugin build --cuda-arch 87 compiles it here" in error.remedy
    assert fake._state.loaded == []
    with trusting([SHA256.upper()]):
        assert build_in(bundle, tmp_path / "2").plugins_sha256 == SHA256
    assert {path for _, path in fake._state.loaded} == {file}
    refused(lambda: build_in(bundle, tmp_path / "3"), SHA256)  # it was named for that once


def test_library_that_was_put_into_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch)
    bundle = write_plugin_bundle(tmp_path / "b")
    file = cached_library(monkeypatch, tmp_path, LIBRARY)
    file.write_bytes(library_bytes(architectures=(86, 87)))
    with pytest.raises(EdgeExportError, match="neither the bundle nor the cache has a compiled one"):
        build_in(bundle, tmp_path / "1")


@requires_compiler
def test_engine_whose_library_is_a_strangers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = install(monkeypatch, stub=StubCudart())
    made_here(LIBRARY)
    bundle = write_plugin_bundle(tmp_path / "b", LIBRARY)
    fake._state.plugins = {str(bundle.path / "plugins" / FILE_NAME): ("TokenPartition",)}
    record = rebuilt(bundle, tmp_path / "new")
    fake._state.loaded.clear()
    elsewhere(monkeypatch, tmp_path)
    with trusting([record.files["engine.plan"]]):
        refused(lambda: BACKEND.load(bundle, record), SHA256)
    assert fake._state.loaded == []


def test_a_device_trusts_the_library_that_is_sent_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_plugin_bundle(tmp_path / "b", LIBRARY)
    names = ["model.onnx", "model.trt.onnx", f"plugins/{FILE_NAME}"]
    bundle = write_plugin_bundle(tmp_path / "b", LIBRARY, files=hashes_of(tmp_path / "b", names))
    assert _trust_arguments(bundle) == []
    made_here(LIBRARY)
    assert _trust_arguments(bundle, bundle) == [f"--trust={SHA256}"]
    assert _trust_arguments(write_engine_bundle(tmp_path / "plain")) == []


# --- Engines ---


@requires_compiler
def test_tensorrt_engine_timing_cache_and_description_of_a_stranger(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = install(monkeypatch, stub=StubCudart())
    bundle = write_trt_bundle(tmp_path / "b")
    record = rebuilt(bundle, tmp_path / "1")
    elsewhere(monkeypatch, tmp_path)
    fake._state.engines.clear()
    plan = record.files["engine.plan"]
    assert refused(lambda: BACKEND.load(bundle, record), plan).where == str(bundle.path / "engine.plan")
    assert fake._state.engines == []
    with trusting([plan]):
        runner = BACKEND.load(bundle, record)
    assert isinstance(runner, TensorRtRunner)
    runner.node_times(IMAGE, runs=1)
    assert "engine.detailed.plan was not made on this machine by you" in runner.profile_note
    assert len(fake._state.engines) == 1
    built = build_in(bundle, tmp_path / "2", OPTIONS)
    assert "was not made on this machine by you" in built.options["timing_cache"]
    assert fake._state.builds[2]["cache"] == ""


def test_engine_that_says_it_was_built_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    record = build_engine(write_engine_bundle(tmp_path / "b").path).record
    bundle = open_bundle(tmp_path / "b")
    assert {path.name for path in (cache / "made_here").iterdir()} == set(record.files.values())
    runner_from_bundle(bundle)
    copied = open_bundle(shutil.copytree(bundle.path, tmp_path / "copy"))
    load_engine(copied)  # it is the hash that counts, and not the place
    elsewhere(monkeypatch, tmp_path)
    found = engine_record(bundle)
    assert found is not None and found.provenance == BUILT_HERE
    sha256 = record.files["engine.onnx"]
    error = refused(lambda: runner_from_bundle(bundle), sha256)
    assert "edgeexport build" in error.remedy and "--engine none runs model.onnx" in error.remedy
    runner_from_bundle(bundle, "none")
    with trusting([sha256]):
        np.testing.assert_array_equal(runner_from_bundle(bundle).run(IMAGE)["best"].ravel(), [1, 0])


def test_engine_that_cannot_be_recorded(tmp_path: Path, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"a file, where the folder should be")
    stages: list[str] = []
    record = build_engine(write_engine_bundle(tmp_path / "b").path, on_stage=stages.append).record
    sha256 = record.files["engine.onnx"]
    assert f"this engine is loaded with --trust {sha256} alone" in stages[-1]
    refused(lambda: load_engine(open_bundle(tmp_path / "b")), sha256)


def test_commands_that_load_an_engine(
    tiny_bundle: Path, tmp_path: Path, edgeexport: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    assert edgeexport("build", bundle, "--target", "cpu").code == 0
    sha256 = json.loads((bundle / "engine.json").read_text())["files"]["engine.onnx"]
    hashes = tmp_path / "trusted.sha256"
    hashes.write_text(f"# of the build machine\n\n{sha256}  engine.onnx\n")
    elsewhere(monkeypatch, tmp_path)
    photo = Path(__file__).parents[2] / "edgeexport/assets/coffee.jpg"
    for command, named in (
        (("run", bundle, photo, "--out-dir", tmp_path / "out"), ("--trust", "0" * 64, "--trust", sha256)),
        (("verify", bundle), ("--trust", sha256)),
        (("profile", bundle, "--warmUp", 1, "--duration", 0.01, "--allow-unstable"), ("--trust-file", hashes)),
    ):
        done = edgeexport(*command)
        assert done.code == 9 and f"--trust {sha256}" in " ".join(done.err.split()), done.err
        done = edgeexport(*command, *named)
        assert done.code == 0, done.err


# --- What the user names ---


def test_files_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, sha256 in (("a", "a" * 64), ("b", "b" * 64)):
        (tmp_path / name).write_text(f"{sha256} *lib.so\r\n")
    monkeypatch.setenv(TRUST_VARIABLE, os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert is_trusted("a" * 64) and is_trusted("b" * 64) and not is_trusted("c" * 64)
    monkeypatch.setenv(TRUST_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"gone \| cannot be read: No such file"):
        is_trusted("a" * 64)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (("--trust", "../../made_here"), "--trust ../../made_here | is no sha256"),
        (("--trust-file", "gone"), "gone | cannot be read"),
        (("--trust-file", "list"), "list:2 | is 'not a hash', expected a sha256 and a name"),
        (("--trust-file", "large"), "large | is larger than 1048576 bytes"),
    ],
)
def test_names_that_are_none(
    named: tuple[str, ...], words: str, edgeexport: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text(f"{'a' * 64}\nnot a hash\n")
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    monkeypatch.chdir(tmp_path)
    done = edgeexport("verify", "b", *named)
    assert done.code == 2 and words in done.err
