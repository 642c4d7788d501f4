"""What a device found, brought into the bundle here: complete before the first file takes its place."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgeexport.backends.contract import BUILT_HERE, EngineRecord
from edgeexport.backends.engine import ENGINE_RECORD, engine_record, remove_engine
from edgeexport.bundle import Bundle, json_bytes
from edgeexport.bundle.files import disk_errors, replaced_file
from edgeexport.errors import BundleError
from edgeexport.remote.connection import Connection
from edgeexport.remote.files import fetch_files

__all__ = ["fetch_engine", "fetch_results"]

_ENGINE_FILES = ("engine.graph.json", "timing.cache")


def fetch_engine(connection: Connection, folder: str, bundle: Bundle) -> EngineRecord | None:
    """Brings the device's engine record here. The old record goes first, the new one comes last."""
    with _fetched(connection, folder, [*_ENGINE_FILES, ENGINE_RECORD]) as (fetched, staging):
        if ENGINE_RECORD not in fetched:
            return None
        record = EngineRecord.from_dict(Bundle(staging, bundle.manifest).json(ENGINE_RECORD))
        record = replace(record, provenance=f"built on ssh://{connection.host.place}")
        (staging / ENGINE_RECORD).write_bytes(json_bytes(record.as_dict()))
        with _written(bundle.path):
            remove_engine(bundle)
            _replace(staging, bundle.path, [*_ENGINE_FILES, ENGINE_RECORD], fetched)
    return record


def fetch_results(connection: Connection, folder: str, bundle: Bundle, names: Sequence[str]) -> None:
    """Brings results here, the last name last; those that are not there no longer belong to these and go here, too.

    The engine's record comes along, unless an engine built on this machine stands here: its files would be lost.
    """
    with _fetched(connection, folder, names) as (fetched, staging), _written(bundle.path):
        _replace(staging, bundle.path, names, fetched)
    try:
        here = engine_record(bundle)
    except BundleError:
        here = None
    if here is None or here.provenance != BUILT_HERE:
        fetch_engine(connection, folder, bundle)


@contextlib.contextmanager
def _fetched(connection: Connection, folder: str, names: Sequence[str]) -> Iterator[tuple[list[str], Path]]:
    """Files of the device in a temporary folder here, all of them before the first takes its place in the bundle."""
    with tempfile.TemporaryDirectory(prefix="edgeexport-") as staging:
        yield fetch_files(connection, folder, names, Path(staging)), Path(staging)


def _replace(staging: Path, folder: Path, names: Sequence[str], fetched: Sequence[str]) -> None:
    for name in names:
        if name in fetched:
            with (staging / name).open("rb") as source, replaced_file(folder / name) as copy:
                shutil.copyfileobj(source, copy)
        else:
            (folder / name).unlink(missing_ok=True)


def _written(folder: Path) -> contextlib.AbstractContextManager[None]:
    return disk_errors(folder, "free some space, make the bundle folder writable, and run the same command again")
