"""Names under which something is written before it is whole, and what a process that died left of them.

``.NAME.partial-PID`` is a file or folder on its way to become NAME, ``.NAME.old-PID`` the folder that NAME was while another
takes its place. Who writes one holds a lock on it. It is nobody's where its process is gone from this host and the lock
can be had: then it is removed, or put back where NAME itself is missing. Where locks do not work (some network file systems)
another host may be at work, and all is left as it is. Runs without torch.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

__all__ = ["clear_remains", "holds_lock", "partial_folder", "partial_names", "remove_folder", "temporary_folder"]

_REMAINS = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial|old)-(?P<pid>[1-9][0-9]{0,9})(?:-[0-9]+)?", re.S)
_SHOWN_OF_NAME = 48  # a file system's names may have 255 bytes, a letter has up to 4
_TRIES, _SECONDS_BETWEEN = 5, 0.1


def partial_names(name: str) -> Iterator[str]:
    """Names for what becomes ``name``, to try one after the other."""
    for number in count():
        yield f".{name[:_SHOWN_OF_NAME]}.partial-{os.getpid()}{f'-{number}' if number else ''}"


@contextlib.contextmanager
def partial_folder(folder: Path, name: str) -> Iterator[Path]:
    """A new ``.NAME.partial-PID`` in ``folder``, removed when the block ends; those of dead processes go first.

    Raises:
        OSError: It cannot be made.
    """
    clear_remains(folder, name)
    path, lock = _new_folder(folder, name)
    try:
        yield path
    finally:
        remove_folder(path)
        os.close(lock)


def temporary_folder() -> contextlib.AbstractContextManager[Path]:
    """A `partial_folder` where the system keeps temporary files."""
    return partial_folder(Path(tempfile.gettempdir()), "edgeexport")


def clear_remains(folder: Path, name: str = "") -> None:
    """Removes what dead processes left of ``name`` in ``folder`` (empty: of any name), or puts it back.

    What cannot be read or removed stays. Links are left alone.
    """
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in list(entries):
            match = _REMAINS.fullmatch(entry.name)
            if match is None or (name and match["name"] not in (name, name[:_SHOWN_OF_NAME])):
                continue
            was_there = match["kind"] == "old"
            ours = entry.is_dir(follow_symlinks=False) or (not was_there and entry.is_file(follow_symlinks=False))
            if ours and not _lives(int(match["pid"])):
                _clear(folder / entry.name, folder / match["name"] if was_there else None)


def holds_lock(handle: int, path: Path) -> bool:
    """Locks an open file or folder for as long as it is open.

    Returns:
        False where ``path`` is another by now: somebody took it for remains before it was locked.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # a file system without such locks: nobody clears there
        return True
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def remove_folder(path: Path) -> None:
    """Removes a folder as far as that is allowed, also while a compiler whose parent was killed still writes there."""
    try:
        _remove(path)
    except KeyboardInterrupt:  # it is told after the clearing up
        _remove(path)
        raise


def _remove(path: Path) -> None:
    for attempt in range(_TRIES):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path) or not os.access(path, os.W_OK):
            return
        time.sleep(_SECONDS_BETWEEN * attempt)


def _new_folder(folder: Path, name: str) -> tuple[Path, int]:
    while True:
        for found in partial_names(name):
            path = folder / found
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700 if str(folder) == tempfile.gettempdir() else 0o777)
                break
        lock = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        if holds_lock(lock, path):
            return path, lock
        os.close(lock)


def _clear(path: Path, back: Path | None) -> None:
    """Removes nobody's file or folder; a folder goes ``back`` where nothing is there."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if back is not None and not os.path.lexists(back):
            path.rename(back)
        elif path.is_dir():
            remove_folder(path)
        else:
            path.unlink()
    except OSError:  # it is somebody's, or cannot be removed
        return
    finally:
        os.close(handle)


def _lives(pid: int) -> bool:
    """Whether another process of this host has that number."""
    if pid == os.getpid():
        return False  # what this process writes it has locked
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True
