"""Files written whole: whatever goes wrong, there is the earlier file or the new one. Runs without torch."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeexport.device.remains import clear_remains, holds_lock, partial_names
from edgeexport.errors import BuildError, EdgeExportError

__all__ = ["disk_errors", "replaced_file", "sync", "write_file"]

_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, which takes the place of ``path`` when the block ends well.

    It stands beside ``path`` until then, and is removed if the block raises; what a killed process left of such files is
    removed as well. A link at ``path`` is replaced, and what it leads to stays as it is.

    Raises:
        OSError: It cannot be written; ``filename`` is ``path``. See `disk_errors`.
    """
    temporary = None
    try:
        with _created_beside(path) as stream:
            temporary = Path(stream.name)
            yield stream
            stream.flush()
            sync(stream)
            temporary.replace(path)
    except BaseException as error:  # Ctrl-C as well
        if temporary is not None:
            _remove(temporary)
        if isinstance(error, OSError) and _is_of(temporary, error):
            error.filename, error.filename2 = str(path), None
        raise


def write_file(path: Path, content: bytes | str) -> None:
    """Writes a file whole; text as UTF-8, its line ends as they are, with ``?`` for bytes of names that are no UTF-8.

    Raises:
        OSError: As `replaced_file` does.
    """
    with replaced_file(path) as stream:
        stream.write(content.encode(errors="replace") if isinstance(content, str) else content)


@contextlib.contextmanager
def disk_errors(
    where: Path, remedy: str, *, when_full: str = "", kind: type[EdgeExportError] = BuildError
) -> Iterator[None]:
    """Turns an `OSError` of the block into an error of ours that names the file and the cause.

    Args:
        where: Named if the error itself names no file.
        remedy: What the reader can do.
        when_full: That, if the disk is full; empty: ``remedy``.
        kind: The error's class, which gives the exit code.

    Raises:
        BuildError: Or ``kind``.
    """
    try:
        yield
    except OSError as error:
        file = str(error.filename or where)
        if when_full and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise kind(file, "the disk is full", when_full) from error
        raise kind(file, f"cannot be written: {error.strerror or error}", remedy) from error


def _created_beside(path: Path) -> BinaryIO:
    """Of a name that nothing had, so that no two writers share it, and no link that stood there is followed."""
    if path.name in ("", ".."):  # the current folder or one above
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    clear_remains(path.parent, path.name)
    temporary = None
    try:
        while True:
            for name in partial_names(path.name):
                temporary = path.with_name(name)
                with contextlib.suppress(FileExistsError):
                    stream = temporary.open("xb")
                    break
            if holds_lock(stream.fileno(), Path(stream.name)):
                return stream
            stream.close()
    except BaseException:  # a signal just after it was made; the name has this process's number
        if temporary is not None:
            _remove(temporary)
        raise


def _remove(path: Path) -> None:
    try:
        with contextlib.suppress(OSError):
            path.unlink()
    except KeyboardInterrupt:  # it is told after the clearing up
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _is_of(temporary: Path | None, error: OSError) -> bool:
    """Whether the error is the file's own, rather than of something else that its writer does."""
    return temporary is None or error.filename is None or str(error.filename) == str(temporary)


def sync(stream: BinaryIO) -> None:
    """Before a rename: a disk that is full may say so only now, and a power cut must not leave the new name empty."""
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        if error.errno not in _NO_FSYNC:  # of a file system that has none
            raise
