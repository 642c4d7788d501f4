"""Files written whole: the old content or the new, whatever happens."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeexport.bundle.files import disk_errors, replaced_file, write_file
from edgeexport.errors import BuildError, UsageError

OLD, NEW = b"old", b"new" * 1000


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "x.json"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def test_replaces_and_leaves_nothing_beside(file: Path) -> None:
    write_file(file, NEW)
    assert contents(file.parent) == {"x.json": NEW}
    write_file(file.with_name("y"), "Grüße\n")
    assert file.with_name("y").read_bytes() == "Grüße\n".encode()
    with replaced_file(file) as stream:
        stream.write(b"a")
        assert file.read_bytes() == NEW  # until the block ends
        stream.write(b"b")
    assert file.read_bytes() == b"ab" and len(contents(file.parent)) == 2


def test_new_files_have_the_rights_that_others_get(file: Path) -> None:
    file.with_name("plain").write_bytes(b"")
    write_file(file, NEW)
    assert file.stat().st_mode == file.with_name("plain").stat().st_mode


class Failing:
    """Makes the n-th call of any of the steps of a write raise."""

    STEPS = ((Path, "open"), (os, "fsync"), (Path, "replace"))

    def __init__(self, patch: pytest.MonkeyPatch, number: int, error: BaseException, after: bool) -> None:
        self.left, self.error, self.after = number, error, after
        for owner, name in self.STEPS:
            patch.setattr(owner, name, self.wrapped(getattr(owner, name)))

    def wrapped(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            result = step(*arguments, **options) if self.left or self.after else None
            if not self.left:
                raise self.error
            return result

        return call


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]
)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_error_at_any_step_leaves_the_old_content(
    file: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException
) -> None:
    with monkeypatch.context() as patch:
        failing = Failing(patch, number, error, after=False)
        with pytest.raises(type(error)):
            write_file(file, NEW)
        assert failing.left == 0
    assert contents(file.parent) == {"x.json": OLD}
    with monkeypatch.context() as patch:
        Failing(patch, 4, error, after=False)
        write_file(file, NEW)  # there are three steps


@pytest.mark.parametrize("error", [OSError("x"), KeyboardInterrupt(), ValueError()])
def test_an_error_of_the_writer_leaves_the_old_content(file: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, replaced_file(file) as stream:
        stream.write(NEW)
        raise error
    assert caught.value is error and contents(file.parent) == {"x.json": OLD}


def test_interrupted_just_after_the_rename_the_new_content_stands(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        Failing(patch, 3, KeyboardInterrupt(), after=True)
        with pytest.raises(KeyboardInterrupt):
            write_file(file, NEW)
    assert contents(file.parent) == {"x.json": NEW}


def test_a_killed_process_leaves_the_old_content(file: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom edgeexport.bundle.files import replaced_file\n"
        "with replaced_file(Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'half')\n    stream.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_bytes() == OLD
    assert len(contents(file.parent)) == 2
    write_file(file, NEW)  # clears what the killed one left
    assert contents(file.parent) == {"x.json": NEW}


def test_a_full_device(file: Path) -> None:
    """The limit of a file's size raises as a full disk does, at whatever byte the write stands."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom edgeexport.bundle.files import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "with disk_errors(Path('elsewhere'), 'make room'):\n    write_file(Path(sys.argv[1]), b'x' * 101)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(f"BuildError: {file} | cannot be written: File too large | make room")
    assert contents(file.parent) == {"x.json": OLD}


def test_a_link_is_replaced_and_never_written_through(file: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    link = file.with_name("link")
    link.symlink_to(precious)
    dangling = file.with_name("dangling")
    dangling.symlink_to(tmp_path / "made-by-nobody")
    for path in (link, dangling):
        write_file(path, NEW)
        assert not path.is_symlink() and path.read_bytes() == NEW
    assert precious.read_bytes() == b"mine" and not (tmp_path / "made-by-nobody").exists()


def test_temporary_names_that_are_taken_are_left_alone(file: Path, tmp_path: Path) -> None:
    """By another writer of this process, by a link that a bundle brought along, by what somebody else uses."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    with replaced_file(file) as first:
        taken = Path(first.name)
        file.with_name(f"{taken.name}-1").symlink_to(precious)
        with file.with_name(f"{taken.name}-2").open("xb") as used:
            fcntl.flock(used, fcntl.LOCK_EX)
            with replaced_file(file) as second:
                assert Path(second.name).name == f"{taken.name}-3"
                second.write(b"second")
        first.write(b"first")
        assert file.read_bytes() == b"second"
    assert file.read_bytes() == b"first" and precious.read_bytes() == b"mine"


def test_many_writers_at_once(file: Path) -> None:
    versions = [bytes([65 + number]) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=write_file, args=(file, version)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(file.parent).keys() == {"x.json"} and file.read_bytes() in versions


def test_the_longest_names_of_a_file_system(tmp_path: Path) -> None:
    for name in ("x" * 255, "界" * 85):
        write_file(tmp_path / name, NEW)
        assert (tmp_path / name).read_bytes() == NEW


@pytest.mark.parametrize(
    ("number", "when_full", "told"),
    [
        (errno.ENOSPC, "", "cannot be written: No space left on device | remedy"),
        (errno.ENOSPC, "make room", "the disk is full | make room"),
        (errno.EDQUOT, "make room", "the disk is full | make room"),
        (errno.EROFS, "make room", "cannot be written: Read-only file system | remedy"),
    ],
)
def test_what_is_told(file: Path, monkeypatch: pytest.MonkeyPatch, number: int, when_full: str, told: str) -> None:
    def failing(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UsageError) as usage, disk_errors(file.parent, "remedy", when_full=when_full, kind=UsageError):
        write_file(file, NEW)
    assert str(usage.value) == f"{file} | {told}"
    assert contents(file.parent) == {"x.json": OLD}


def test_the_file_that_is_named(file: Path) -> None:
    with pytest.raises(BuildError) as caught, disk_errors(file, "remedy"):
        write_file(file / "below" / "a-file", NEW)
    assert caught.value.where == str(file / "below" / "a-file")
    with pytest.raises(BuildError) as caught, disk_errors(file, "remedy"):
        raise OSError("no number, no name")
    assert str(caught.value) == f"{file} | cannot be written: no number, no name | remedy"
    file.with_name("d").mkdir()
    with pytest.raises(BuildError) as caught, disk_errors(file, "remedy"):
        write_file(file.with_name("d"), NEW)
    assert str(caught.value) == f"{file.with_name('d')} | cannot be written: Is a directory | remedy"
    assert sorted(names_in(file.parent)) == ["d", "x.json"]


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_system_without_fsync(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(handle: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", missing)
    write_file(file, NEW)
    assert contents(file.parent) == {"x.json": NEW}
