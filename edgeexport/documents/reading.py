"""JSON that others may have written, read once and for all: size, depth, numbers, text and the declared model.

What comes out is plain lists, numbers and text, and `Entries`: dicts that keep what the model does not declare (a later
version's), and that say which file lacks a key where one is asked for that is not there. So whoever reads a document
indexes it like any dict, and a damaged one is an error of ours wherever that shows.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

import msgspec

from edgeexport.documents.limits import DEEPEST
from edgeexport.errors import BundleError, EdgeExportError

__all__ = ["AGAIN", "Entries", "Inconsistent", "Kind", "parsed", "read_bytes", "read_document"]

AGAIN = "copy or build the bundle again"
_OTHER_VERSION = "build the bundle again with this version, or use the version that wrote it"

_LARGEST_WHOLE, _LARGEST = 2**63, 1e100
_LONGEST_TEXT, _LONGEST_KEY, _SHOWN = 1 << 20, 4096, 120

Model = TypeVar("Model")


class Inconsistent(Exception):
    """Entries that do not go together, found by a `Kind`'s ``check``: the key that is wrong, and why."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(key, problem)
        self.key, self.problem = key, problem


@dataclass(frozen=True)
class Kind(Generic[Model]):
    """A kind of document.

    Attributes:
        model: What it holds: a `TypedDict`, or anything else that msgspec validates.
        schema: Its ``schema``; None where it has none, or that is looked at elsewhere.
        remedy: What to do about a damaged one.
        largest: Bytes.
        error: Class of the error.
        check: Raises `Inconsistent` where entries do not go together.
        loose: Text may hold control characters as they are, as some tools write it.
    """

    model: Any
    schema: str | None = None
    remedy: str = AGAIN
    largest: int = 16 << 20
    error: type[EdgeExportError] = BundleError
    check: Callable[[Model], None] | None = None
    loose: bool = False


class Entries(dict[str, Any]):
    """An object of a document; a key that it lacks is the error of its kind, wherever it is asked for."""

    where = ""
    kind: Kind[Any] | None = None

    def __missing__(self, key: str) -> NoReturn:
        if self.kind is None:  # a copy
            raise KeyError(key)
        raise self.kind.error(self.where, f"lacks {key}", self.kind.remedy)


def read_document(path: Path, kind: Kind[Model]) -> Model:
    """Reads a file.

    Raises:
        EdgeExportError: Of ``kind.error``: missing, unreadable, too large, or damaged; the message names file and key.
    """
    try:
        content = read_bytes(path, kind.largest)
    except FileNotFoundError:
        problem = "is missing from the bundle" if kind.error is BundleError else "cannot be read (no such file)"
        raise kind.error(str(path), problem, kind.remedy) from None
    except (OSError, ValueError) as error:
        raise kind.error(str(path), f"cannot be read ({error})", kind.remedy) from None
    return parsed(content, kind, str(path))


def parsed(content: bytes | str, kind: Kind[Model], where: str) -> Model:
    """As `read_document`, of content that has been read; ``where`` names it."""
    if len(content) > kind.largest:
        raise kind.error(where, f"has {len(content)} bytes, {kind.largest} are allowed", kind.remedy)
    try:
        plain = json.loads(content, strict=False) if kind.loose else msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise kind.error(where, f"cannot be read ({error})", kind.remedy) from None
    if kind.schema is not None:
        found = plain.get("schema") if isinstance(plain, dict) else None
        if found != kind.schema:
            raise kind.error(
                where,
                f"schema {found!r}, this edgeexport reads {kind.schema!r}"[:200],
                _OTHER_VERSION if kind.remedy == AGAIN else kind.remedy,
            )
    try:
        document = _limited(plain, kind, where, "", 0)
        msgspec.convert(plain, kind.model)
        if kind.check is not None:
            kind.check(document)
    except Inconsistent as error:
        raise kind.error(_place(where, error.key), error.problem, kind.remedy) from None
    except (msgspec.ValidationError, RecursionError) as error:
        raise _refused(str(error), plain, kind, where) from None
    return cast(Model, document)


def read_bytes(path: Path, largest: int) -> bytes:
    """Content of a plain file of at most ``largest`` bytes; a pipe or a device is not waited for.

    Raises:
        OSError: It cannot be read. ValueError: No plain file, or larger.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("no plain file")
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"{status.st_size} bytes, {largest} are allowed")
    return content


def _limited(value: Any, kind: Kind[Any], file: str, path: str, depth: int) -> Any:
    """Refuses what no document of ours holds anywhere, and makes objects `Entries`."""
    if depth > DEEPEST:
        raise Inconsistent(path, f"goes deeper than {DEEPEST} levels")
    if isinstance(value, dict):
        entries = Entries()
        entries.where, entries.kind = _place(file, path), kind
        for key, item in value.items():
            if len(key) > _LONGEST_KEY:
                raise Inconsistent(path, f"has a key of {len(key)} characters")
            entries[key] = _limited(item, kind, file, f"{path}.{key}" if path else key, depth + 1)
        return entries
    if isinstance(value, list):
        return [_limited(item, kind, file, f"{path}[{number}]", depth + 1) for number, item in enumerate(value)]
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT:
            raise Inconsistent(path, f"has {len(value)} characters, {_LONGEST_TEXT} are allowed")
    elif isinstance(value, (int, float)) and not abs(value) <= (_LARGEST_WHOLE if isinstance(value, int) else _LARGEST):
        raise Inconsistent(path, "is a number beyond any that stands here")
    return value


def _place(file: str, path: str) -> str:
    """'manifest.json: input.height'."""
    return f"{file}: {path[:_SHOWN]}{'...' if len(path) > _SHOWN else ''}" if path else file


def _refused(message: str, plain: Any, kind: Kind[Any], file: str) -> EdgeExportError:
    """msgspec's 'Expected `int`, got `str` - at `$.input.height`' in our form."""
    problem, _, place = message.partition(" - at ")
    path = _named(place.replace("`", "").removeprefix("key in ").removeprefix("$"), plain, kind, message)
    if " matching regex " in problem:
        problem = "has characters or a length that do not belong there"
    problem = problem.replace("`", "").replace("Object missing required field ", "lacks ")
    return kind.error(_place(file, path.removeprefix(".")), problem[:1].lower() + problem[1:], kind.remedy)


def _named(path: str, plain: Any, kind: Kind[Any], message: str) -> str:
    """msgspec tells an entry of a dict as '[...]': the key is the one with which alone the same is said."""
    head, dots, rest = path.partition("[...]")
    holder = plain
    for step in head.replace("[", ".").replace("]", "").split("."):
        if step:
            try:
                holder = holder[int(step) if isinstance(holder, list) else step]
            except (LookupError, TypeError, ValueError):  # a key with a dot in it
                return path
    if not dots or not isinstance(holder, dict):
        return path
    items = dict(holder)
    for key, item in items.items():
        holder.clear()
        holder[key] = item
        try:
            msgspec.convert(plain, kind.model)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return _named(f"{head}.{key}{rest}", plain, kind, message)
    return path
