"""Where an engine's files stand until they are complete: one build at a time, and no remains of one that was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgeexport.errors import BuildError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

__all__ = ["partial_engine_folder"]

_PREFIX = ".engine.partial-"


@contextlib.contextmanager
def partial_engine_folder(bundle_path: Path) -> Iterator[Path]:
    """A new folder inside the bundle, removed at the end; the bundle is locked meanwhile.

    Raises:
        BuildError: Another process builds the bundle's engine.
        OSError: The bundle cannot be read or written.
    """
    with _locked(bundle_path) as alone:
        if alone:  # so whoever made these was killed
            for remains in bundle_path.glob(f"{_PREFIX}*"):
                shutil.rmtree(remains, ignore_errors=True)
        partial = bundle_path / f"{_PREFIX}{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _locked(bundle_path: Path) -> Iterator[bool]:
    """Locks the folder itself: that leaves no file behind, and ends with the process, however it ends.

    Yields:
        False where the system or the file system (some network ones) has no such lock.
    """
    if fcntl is None:
        yield False
        return
    folder = os.open(bundle_path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            problem, remedy = "its engine is being built by another process", "wait for it, then build again"
            raise BuildError(str(bundle_path), problem, remedy) from None
        except OSError:
            alone = False
        yield alone
    finally:
        os.close(folder)
