"""What a long run over images has finished, as JSON lines that outlive an interruption.

The first line says what the entries belong to; an entry is written before the next is computed. A line that an
interruption tore is dropped, since its work is done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edgeexport.bundle.files import write_file
from edgeexport.device.remains import clear_remains
from edgeexport.documents import Kind, parsed
from edgeexport.documents.progress import HEADER, LONGEST_LINE, Header
from edgeexport.errors import UsageError

__all__ = ["ProgressFile"]

Entry = TypeVar("Entry")


class ProgressFile:
    """Opens ``path`` to go on with it, or begins it anew where its key is another. A context manager.

    Args:
        path: The file; its folder is made if missing.
        schema: Kind and version of the entries, such as 'edgeexport.evaluation_progress/1'.
        key: What the entries depend on, by name; the names appear in `begun_anew`.
        restart: Begin anew in any case.

    Attributes:
        path: As given.
        begun_anew: Why entries of an earlier run were dropped; empty where none were, or ``restart`` asked for it.

    Raises:
        UsageError: The file is none of ours, or cannot be read or written.
    """

    def __init__(self, path: Path, schema: str, key: Mapping[str, str], *, restart: bool = False) -> None:
        self.path, self.begun_anew = path, ""
        header: Header = {"schema": schema, "key": dict(key)}
        try:
            if path.is_symlink():
                raise UsageError(str(path), "is a link, and is not written through", "give another --out-dir")
            path.parent.mkdir(parents=True, exist_ok=True)
            clear_remains(path.parent, path.name)
            earlier = self._header(schema.split("/")[0], restart)
            if earlier is not None and earlier != header:
                self.begun_anew = _difference(earlier, header)
            if restart or earlier != header:
                write_file(path, _line(header))
            else:
                self._drop_torn_line()
            self._stream = path.open("ab")
        except OSError as error:
            raise _unusable(path, error) from error

    def __enter__(self) -> ProgressFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def entries(self, kind: Kind[Entry]) -> Iterator[Entry]:
        """What the file held when it was opened and what was appended since, in order; each line held to ``kind``.

        Raises:
            UsageError: A line is damaged.
        """
        try:
            with self.path.open("rb") as stream:
                stream.readline(LONGEST_LINE)
                for number in count(2):
                    line = stream.readline(LONGEST_LINE + 1)
                    if not line:
                        return
                    yield _entry(line, kind, f"{self.path}: line {number}")
        except OSError as error:
            raise _unusable(self.path, error) from error

    def append(self, entries: Iterable[Mapping[str, object]]) -> None:
        """Writes entries (plain JSON values), so that they are kept whatever happens next.

        Raises:
            UsageError: The disk is full or not writable.
        """
        try:
            self._stream.write(b"".join(_line(entry) for entry in entries))
            self._stream.flush()
        except OSError as error:
            raise _unusable(self.path, error) from error

    def _header(self, family: str, restart: bool) -> Header | None:
        """The first line; None where there is no file, or nothing but a torn first line."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as stream:
            line = stream.readline(LONGEST_LINE)
        try:
            header = _entry(line, HEADER, f"{self.path}: line 1")
            if header["schema"].startswith(f"{family}/"):
                return header
        except UsageError:
            ours = line.startswith(_line({"schema": f"{family}/"}).rpartition(b'"')[0])
            if ours and line.endswith(b"\n") and not restart:
                raise
            if ours:
                return None
        start = _line({"schema": family}).rpartition(b'"')[0]
        if line.endswith(b"\n") or not (line.startswith(start) or start.startswith(line)):
            problem = "is no progress file of edgeexport, and is left alone"
            raise UsageError(str(self.path), problem, "give another --out-dir")
        return None

    def _drop_torn_line(self) -> None:
        with self.path.open("rb+") as stream:
            end = stream.seek(0, 2)
            position, block = end, 1 << 16
            while position > 0:
                start = max(0, position - block)
                stream.seek(start)
                newline = stream.read(position - start).rfind(b"\n")
                if newline >= 0:
                    stream.truncate(start + newline + 1)
                    return
                position = start


def _line(entry: Mapping[str, object]) -> bytes:
    return json.dumps(entry, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _entry(line: bytes, kind: Kind[Entry], where: str) -> Entry:
    try:
        return parsed(line, kind, where)
    except UsageError as error:
        raise UsageError(error.where, f"is damaged: {error.problem}", error.remedy) from None


def _difference(earlier: Header, expected: Header) -> str:
    """In words, what of the key is another than at the last run."""
    old, new = earlier["key"], expected["key"]
    names = [name for name in new if old.get(name) != new[name]]
    if earlier["schema"] != expected["schema"] or not names:
        return "it is of another version"
    return f"another {' and another '.join(names)} than before"


def _unusable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        str(path), f"cannot be written or read: {error.strerror or error}", "free some space or give another --out-dir"
    )
