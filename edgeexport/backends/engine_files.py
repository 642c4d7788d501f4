"""Where an engine's files stand until they are complete: one build at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgeexport.device.remains import partial_folder
from edgeexport.errors import BuildError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

__all__ = ["partial_engine_folder"]


@contextlib.contextmanager
def partial_engine_folder(bundle_path: Path) -> Iterator[Path]:
    """A new folder inside the bundle, removed at the end; the bundle is locked meanwhile. What killed builds left goes first.

    Raises:
        BuildError: Another process builds the bundle's engine.
        OSError: The bundle cannot be read or written.
    """
    with _locked(bundle_path), partial_folder(bundle_path, "engine") as partial:
        yield partial


@contextlib.contextmanager
def _locked(bundle_path: Path) -> Iterator[None]:
    """Locks the folder itself, where the file system can: that leaves no file behind, and ends with the process."""
    if fcntl is None:
        yield
        return
    folder = os.open(bundle_path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no such lock
            _lock(folder, bundle_path)
        yield
    finally:
        os.close(folder)


def _lock(folder: int, bundle_path: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        problem, remedy = "its engine is being built by another process", "wait for it, then build again"
        raise BuildError(str(bundle_path), problem, remedy) from None
