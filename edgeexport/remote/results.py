"""What a device found, brought into the bundle here: complete before the first file takes its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from edgeexport.backends.contract import BUILT_HERE, EngineRecord
from edgeexport.backends.engine import ENGINE_RECORD, engine_record, remove_engine
from edgeexport.bundle import Bundle, json_bytes
from edgeexport.bundle.files import disk_errors, write_file
from edgeexport.device.remains import partial_folder
from edgeexport.documents import ENGINE, IN_A_BUNDLE, read_document
from edgeexport.errors import BundleError
from edgeexport.remote.connection import Connection
from edgeexport.remote.files import fetch_files

__all__ = ["checked", "fetch_engine", "fetch_results"]

T = TypeVar("T")

_ENGINE_FILES = ("engine.graph.json", "timing.cache")
_STAYS = ", so what is here stays as it was"
_AGAIN = "install the same version of edgeexport there, and run the command again"


def fetch_engine(connection: Connection, folder: str, bundle: Bundle) -> EngineRecord | None:
    """Brings the device's engine record here. The old record goes first, the new one comes last.

    Raises:
        BundleError: The record is damaged or of another version; nothing here is changed.
    """
    with _fetched(connection, folder, bundle, [*_ENGINE_FILES, ENGINE_RECORD]) as (fetched, beside):
        if ENGINE_RECORD not in fetched:
            return None
        file = beside / ENGINE_RECORD
        with _damage_told(f"{connection.host}: {folder}/{ENGINE_RECORD}", file):
            record = EngineRecord.from_dict(read_document(file, ENGINE))
        record = replace(record, provenance=f"built on ssh://{connection.host.place}")
        write_file(file, json_bytes(record.as_dict()))
        remove_engine(bundle)
        _replace(beside, bundle.path, [*_ENGINE_FILES, ENGINE_RECORD], fetched)
    return record


def fetch_results(
    connection: Connection,
    folder: str,
    bundle: Bundle,
    names: Sequence[str],
    check: Callable[[Any], object],
    on_replace: Callable[[Any], None] = lambda document: None,
) -> None:
    """Brings results here, the last name last; those that are not there no longer belong to these and go here, too.

    The engine's record comes along, unless an engine built on this machine stands here: its files would be lost.

    Args:
        connection, folder: Where they are.
        bundle: Where they go.
        names: Plain names; the last is the JSON document that the others belong to, which must be there.
        check: Given that document, raises if it cannot be used; a `KeyError` and the like will do.
        on_replace: Given that document, just before it takes the place of the earlier one.

    Raises:
        BundleError: The document is missing, damaged or refused; nothing here is changed.
        DeviceError, BuildError: As `fetch_files` does; nothing here is changed.
    """
    where = f"{connection.host}: {folder}/{names[-1]}"
    with _fetched(connection, folder, bundle, names) as (fetched, beside):
        if names[-1] not in fetched:
            raise BundleError(where, f"is missing{_STAYS}", _AGAIN)
        with _damage_told(where, beside / names[-1]):
            document = read_document(beside / names[-1], IN_A_BUNDLE[names[-1]])
            check(document)
        on_replace(document)
        _replace(beside, bundle.path, names, fetched)
    try:
        here = engine_record(bundle)
    except BundleError:
        here = None
    if here is None or here.provenance != BUILT_HERE:
        fetch_engine(connection, folder, bundle)


def checked(document: Any, check: Callable[[Any], T], where: str) -> T:
    """What ``check`` makes of a document that a device gave.

    Raises:
        BundleError: Nothing, since it lacks something or is of another form.
    """
    with _damage_told(where):
        return check(document)


@contextlib.contextmanager
def _damage_told(where: str, file: Path | None = None) -> Iterator[None]:
    """What is wrong with a document that a device gave, told of its place there and not of ``file``, its copy here."""
    try:
        yield
    except BundleError as error:
        place = error.where if file is None else error.where.replace(str(file), where)
        raise BundleError(place, f"{error.problem}{_STAYS}", _AGAIN) from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BundleError(where, f"is of another form ({error!r}){_STAYS}", _AGAIN) from None


@contextlib.contextmanager
def _fetched(
    connection: Connection, folder: str, bundle: Bundle, names: Sequence[str]
) -> Iterator[tuple[list[str], Path]]:
    """Files of the device in a folder inside the bundle, all of them before the first takes its place."""
    remedy = "free some space, make the bundle folder writable, and run the same command again"
    with disk_errors(bundle.path, remedy), partial_folder(bundle.path, "results") as beside:
        yield fetch_files(connection, folder, names, beside), beside


def _replace(beside: Path, folder: Path, names: Sequence[str], fetched: Sequence[str]) -> None:
    for name in names:
        if name in fetched:
            (beside / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
