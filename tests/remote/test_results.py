"""What a device found, brought into the bundle here, without ssh: the shell lines run on this machine."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine_cases import write_engine_bundle
from measured_cases import bench, orin_bench

from edgeexport.backends.contract import EngineOptions
from edgeexport.backends.engine import build_engine, engine_record
from edgeexport.bundle import Bundle
from edgeexport.errors import BuildError, BundleError
from edgeexport.profile.protocol import TimingRequest
from edgeexport.remote import commands
from edgeexport.remote.results import fetch_engine, fetch_results
from edgeexport.verify.compare import Comparison, OutputDifference


class HereConnection:
    """Stands in for `Connection`."""

    host = SimpleNamespace(place="me@orin")

    def script(self, what: str, text: str, *arguments: str) -> bytes:
        done = subprocess.run(["sh", "-c", text, "sh", *arguments], capture_output=True, check=True)
        return done.stdout


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "bench.json").write_bytes(b'{"a": 1}')
    (folder / "power.csv").write_bytes(b"power")
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Bundle:
    return write_engine_bundle(tmp_path / "here")


COMPARISON = Comparison(
    "golden outputs", "a", "b", ("x.jpg",), "passed", outputs=(OutputDifference("scores", True, 1e-6, 3e-5, 1.0),)
)
VERIFY = {
    "schema": "edgeexport.verify/1",
    "status": "incomplete",
    "explanation": "",
    "runner": "onnxruntime",
    "original_not_run": "torch is not installed",
    "comparisons": [COMPARISON.as_dict()],
}
NAMES = ["power.csv", "verify.json", "bench.json"]


def test_results_replace_links_and_go_where_there_are_none(there: Path, here: Bundle, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    (here.path / "bench.json").symlink_to(precious)
    (here.path / ".bench.json.partial").symlink_to(precious)  # a name that a bundle may bring along
    (here.path / "verify.json").write_bytes(b"of an earlier engine")
    fetch_results(HereConnection(), str(there), here, NAMES, lambda document: document["a"])
    assert (here.path / "bench.json").read_bytes() == b'{"a": 1}' and not (here.path / "bench.json").is_symlink()
    assert (here.path / "power.csv").read_bytes() == b"power"
    assert not (here.path / "verify.json").exists()
    assert precious.read_bytes() == b"mine"


def test_a_full_disk_here_leaves_the_earlier_file(there: Path, here: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    (here.path / "power.csv").write_bytes(b"earlier")
    synced = os.fsync

    def full(handle: int) -> None:
        if str(here.path) in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(handle)

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(path.name for path in here.path.iterdir())
    with pytest.raises(BuildError) as caught:
        fetch_results(HereConnection(), str(there), here, NAMES, lambda document: document["a"])
    assert "power.csv | cannot be written: No space left on device | free " in str(caught.value)
    assert (here.path / "power.csv").read_bytes() == b"earlier"
    assert sorted(path.name for path in here.path.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is missing, so what is here stays"),
        ("{", "cannot be read"),
        ("null", "expected object, got null"),
        ("[1]", "expected object, got array"),
        ("{}", "lacks a"),
        ('{"rows": {"compute": {"p50": "x"}}}', "expected float | null, got str"),
        ('{"a": 1, "rows": []}', "expected object, got array"),
    ],
)
def test_nonsense_costs_nothing_that_was_here(there: Path, here: Bundle, content: str | None, told: str) -> None:
    (there / "bench.json").unlink()
    if content is not None:
        (there / "bench.json").write_text(content)
    for name in NAMES:
        (here.path / name).write_text(f"earlier {name}")
    before = {path.name: path.read_bytes() for path in here.path.iterdir()}
    with pytest.raises(BundleError) as caught:
        fetch_results(HereConnection(), str(there), here, NAMES, lambda document: document["a"])
    assert str(caught.value).startswith(f"{HereConnection.host}: {there}/bench.json") and caught.value.exit_code == 9
    assert told in caught.value.problem and caught.value.problem.endswith(", so what is here stays as it was")
    assert {path.name: path.read_bytes() for path in here.path.iterdir()} == before


@pytest.mark.parametrize("record", ["{", "[]", '{"schema": "edgeexport.engine/1"}'])
def test_a_nonsense_engine_costs_nothing_that_was_here(here: Bundle, tmp_path: Path, record: str) -> None:
    build_engine(here.path)
    before = {path.name: path.read_bytes() for path in here.path.iterdir()}
    (tmp_path / "engine.json").write_text(record)
    with pytest.raises(BundleError):
        fetch_engine(HereConnection(), str(tmp_path), here)
    assert {path.name: path.read_bytes() for path in here.path.iterdir()} == before


def told_by(command: str, bundle: Bundle, answer: object, files: dict[str, str]) -> object:
    """Carries out a command on a device that prints ``answer``, and has written ``files``."""
    there = bundle.path.parent / "sent"
    there.mkdir(exist_ok=True)
    for name, content in files.items():
        (there / name).write_text(content)

    class There:
        connection, names, host = HereConnection(), {}, SimpleNamespace(place="orin")
        session = contextlib.contextmanager(lambda self, on_stage: (yield self))

        def run(self, *_: object) -> object:
            return json.loads(json.dumps(answer))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "_sent", lambda *_: str(there))
        if command == "profile":
            return commands.remote_profile(bundle.path, TimingRequest(), There()).document
        return commands.remote_verify(bundle.path, There()).as_dict()


@pytest.mark.parametrize("command", ["profile", "verify"])
@pytest.mark.parametrize("number", range(6))
def test_what_a_device_prints_is_looked_at_before_anything_is_replaced(here: Bundle, command: str, number: int) -> None:
    good: dict[str, object] = bench() if command == "profile" else VERIFY
    file = "bench.json" if command == "profile" else "verify.json"
    other = good | {"bundle": {}, "comparisons": ["x"]}
    answer, written = [
        (None, None),
        ({}, {}),
        (other, other),
        (good, None),
        (good, other),
        (good | {"comparisons": [], "notes": []}, good),
    ][number]
    for name in ("bench.json", "power.csv", "verify.json", "engine.profile.json"):
        (here.path / name).write_text("{}")
    before = {path.name: path.read_bytes() for path in here.path.iterdir()}
    with pytest.raises(BundleError, match="so what is here stays as it was"):
        told_by(command, here, answer, {} if written is None else {file: json.dumps(written)})
    after = {path.name: path.read_bytes() for path in here.path.iterdir()}
    assert after == before


def test_a_comparison_made_before_is_kept(here: Bundle) -> None:
    (here.path / "bench.json").write_text(json.dumps(orin_bench()))
    (here.path / "power.csv").write_text("watts")
    document = told_by("profile", here, bench(), {"bench.json": json.dumps(bench())})
    assert "it is kept as bench.earlier.json" in document["notes"][-1]
    assert json.loads((here.path / "bench.json").read_text()) == bench()
    assert json.loads((here.path / "bench.earlier.json").read_text()) == orin_bench()
    assert (here.path / "power.earlier.csv").read_text() == "watts" and not (here.path / "power.csv").exists()


def test_an_engine_of_elsewhere_takes_the_place_of_the_one_here(here: Bundle, tmp_path: Path) -> None:
    build_engine(here.path)
    device = write_engine_bundle(tmp_path / "device")
    built = build_engine(device.path, options=EngineOptions(threads=2)).record
    fetched = fetch_engine(HereConnection(), str(device.path), here)
    assert fetched == engine_record(here) and fetched is not None
    assert (fetched.options["threads"], fetched.provenance) == (2, "built on ssh://me@orin")
    assert fetched.files == built.files
    assert not (here.path / "engine.onnx").exists()  # the one that was built here; the device's stays there
    assert fetch_engine(HereConnection(), str(tmp_path), here) is None  # none there
    assert engine_record(here) == fetched
