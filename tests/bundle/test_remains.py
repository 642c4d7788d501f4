"""What a process that died left is cleared or put back; what somebody uses is left alone."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_bundle import content_of, names_in, write_bundle

from edgeexport.bundle import check_replaceable, open_bundle, staged_bundle
from edgeexport.bundle import exchange as exchange_module
from edgeexport.bundle import staging as staging_module
from edgeexport.bundle.exchange import exchanged
from edgeexport.device.remains import clear_remains, partial_folder

KILLED_IN_STAGING = """
import os, signal, sys
from pathlib import Path
from edgeexport.bundle import staged_bundle
with staged_bundle(Path(sys.argv[1])) as staging:
    (staging / "model.onnx").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_BETWEEN_RENAMES = """
import os, signal, sys
from pathlib import Path
from edgeexport.bundle import open_bundle, staging
staging.exchanged = lambda one, other: False
rename = Path.rename
def killed(self, target):
    if ".partial-" in str(self):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = killed
with staging.staged_bundle(Path(sys.argv[1])) as folder:
    (folder / "model.onnx").write_bytes(b"new")
    (folder / "manifest.json").write_bytes((Path(sys.argv[1]) / "manifest.json").read_bytes())
"""


def killed(code: str, path: Path) -> int:
    """Runs the code, which is to be killed; the process's number."""
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as process:
        assert process.wait(60) == -signal.SIGKILL
    return process.pid


@pytest.fixture
def dead() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def living() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def test_a_killed_build_leaves_the_bundle_and_the_next_clears_the_rest(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", b"old")
    number = killed(KILLED_IN_STAGING, path)
    assert names_in(tmp_path) == {"b", f".b.partial-{number}"} and (path / "model.onnx").read_bytes() == b"old"
    with staged_bundle(path) as staging:
        write_bundle(staging, b"new")
    assert names_in(tmp_path) == {"b"} and content_of(path) == b"new"


@pytest.mark.parametrize("next_command", [open_bundle, check_replaceable])
def test_a_bundle_between_two_renames_comes_back(tmp_path: Path, next_command: object) -> None:
    """On a system that cannot exchange folders."""
    path = write_bundle(tmp_path / "b", b"old")
    number = killed(KILLED_BETWEEN_RENAMES, path)
    assert names_in(tmp_path) == {f".b.old-{number}", f".b.partial-{number}"}
    next_command(path)
    assert names_in(tmp_path) == {"b"} and content_of(path) == b"old"


def test_there_is_no_instant_without_a_bundle(tmp_path: Path) -> None:
    path, over, missed = write_bundle(tmp_path / "b", b"0"), threading.Event(), 0

    def look() -> None:
        nonlocal missed
        while not over.is_set():
            missed += not (path / "manifest.json").exists()

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(15):
        with staged_bundle(path) as staging:
            write_bundle(staging, b"%d" % number)
    over.set()
    watcher.join()
    assert missed == 0 and content_of(path) == b"14"


@pytest.mark.parametrize("able", [True, False])
def test_both_ways_to_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    path = write_bundle(tmp_path / "b", b"old")
    if not able:
        monkeypatch.setattr(exchange_module, "_library", lambda: None)
    assert staging_module.exchanged is exchanged and exchanged(path, write_bundle(tmp_path / "c", b"other")) == able
    with staged_bundle(path) as staging:
        write_bundle(staging, b"new")
    assert content_of(path) == b"new" and names_in(tmp_path) == {"b", "c"}


def test_an_exchange_with_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        exchanged(write_bundle(tmp_path / "b"), tmp_path / "absent")
    assert caught.value.errno == errno.ENOENT and content_of(tmp_path / "b") == b"graph"


def test_what_is_cleared_and_what_is_left(tmp_path: Path, dead: int, living: int) -> None:
    bundle = write_bundle(tmp_path / "b")
    for name in (f".b.partial-{dead}", f".b.partial-{os.getpid()}-1", f".b.old-{dead}"):
        write_bundle(tmp_path / name, b"half")
    (bundle / f".verify.json.partial-{dead}").write_bytes(b"half")
    (bundle / f".engine.partial-{dead}").mkdir()
    elsewhere = write_bundle(tmp_path / "elsewhere")
    left = {f".b.partial-{living}", f".b.old-{living}", f".c.partial-{dead}", f".b.partial-{dead}x", ".b.partial-0"}
    for name in left:
        write_bundle(tmp_path / name)
    (tmp_path / f".b.partial-{dead}-3").symlink_to(elsewhere)
    (bundle / f".bench.json.partial-{dead}").symlink_to(elsewhere / "model.onnx")
    open_bundle(bundle)
    assert names_in(tmp_path) == {"b", "elsewhere", f".b.partial-{dead}-3", *left}
    assert names_in(bundle) == {"manifest.json", "model.onnx", f".bench.json.partial-{dead}"}
    assert content_of(elsewhere) == b"graph"


def test_what_is_locked_is_in_use_whatever_its_number(tmp_path: Path, dead: int) -> None:
    """A build in another container: its number says nothing here, its lock does."""
    with partial_folder(tmp_path, "b") as folder:
        taken = folder.rename(tmp_path / f".b.partial-{dead}")
        clear_remains(tmp_path)
        assert taken.is_dir()
    clear_remains(tmp_path)
    assert not taken.exists()


def test_builds_at_the_same_time_do_not_clear_each_other(tmp_path: Path) -> None:
    with partial_folder(tmp_path, "b") as one, partial_folder(tmp_path, "b") as other:
        assert one != other and one.is_dir() and other.is_dir()
    assert not names_in(tmp_path)


def test_a_folder_taken_for_remains_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, lock = [], fcntl.flock

    def cleared(handle: int, how: int) -> None:
        lock(handle, how)
        locked.append(handle)
        if len(locked) == 1:
            (tmp_path / f".b.partial-{os.getpid()}").rmdir()

    monkeypatch.setattr(fcntl, "flock", cleared)
    with partial_folder(tmp_path, "b") as folder:
        assert folder.is_dir() and len(locked) == 2


def test_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("b" * 200)  # more bytes are refused
    for content in (b"old", b"new"):
        with staged_bundle(path) as staging:
            write_bundle(staging, content)
        assert content_of(path) == content
