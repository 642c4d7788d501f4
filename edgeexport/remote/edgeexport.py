"""edgeexport on a device: found, held against this version, run with its progress streamed, its errors raised here."""

from __future__ import annotations

import contextlib
import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, TypeVar

from edgeexport.backends.contract import ENGINE_SCHEMA
from edgeexport.bundle import SCHEMA
from edgeexport.bundle.files import disk_errors
from edgeexport.documents import Kind, parsed
from edgeexport.documents.answers import VERSIONS
from edgeexport.errors import (
    BuildError,
    BundleError,
    DeviceError,
    EdgeExportError,
    LintError,
    MeasurementError,
    ParityError,
    UsageError,
)
from edgeexport.remote.connection import Connection, Finished
from edgeexport.version import __version__

__all__ = ["REMOTE_COMMAND", "RemoteEdgeexport", "command_words", "version_facts"]

REMOTE_COMMAND = "edgeexport"

Answer = TypeVar("Answer")

_ERRORS: dict[int, type[EdgeExportError]] = {
    kind.exit_code: kind
    for kind in (UsageError, LintError, ParityError, BuildError, MeasurementError, DeviceError, BundleError)
}
_STAGE, _ERROR = "... ", "error: "
_INSTALL = (
    "install it there (jetson/README.md); where it is in a virtual environment, name it: "
    "--remote-command /home/me/venv/bin/edgeexport"
)


def version_facts() -> dict[str, str]:
    """What `edgeexport version --json` prints: whoever sends a bundle to this machine holds it against its own."""
    return {
        "edgeexport": __version__,
        "bundle_schema": SCHEMA,
        "engine_schema": ENGINE_SCHEMA,
        "python": platform.python_version(),
    }


def command_words(command: str) -> list[str]:
    """``--remote-command`` as words, split as a shell does, so that it may be ``docker run ... edgeexport``.

    Raises:
        UsageError: Nothing, an open quote, or a line break.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--remote-command {command!r}", f"is no command ({error})", "close the quote") from None
    if not words or not command.isprintable():
        raise UsageError(f"--remote-command {command!r}", "is no command of one line", f"such as {REMOTE_COMMAND}")
    return words


@dataclass
class RemoteEdgeexport:
    """edgeexport on the other side of a connection.

    Attributes:
        connection: Open.
        words: The command, as `command_words` gives it.
        names: Paths on the device -> how messages name them here.
    """

    connection: Connection
    words: Sequence[str]
    names: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Refuses an edgeexport that may read bundles, or write results, in another way.

        Raises:
            DeviceError: There is none.
            BundleError: Another schema or minor version (exit code 9).
        """
        host = self.connection.host
        done = self.connection.command([*self.words, "version", "--json"], lambda line: None)
        self._found(done)
        facts = None
        with contextlib.suppress(BundleError):
            facts = parsed(done.out, VERSIONS, "")
        if done.code != 0 or facts is None:
            problem = f"`{shlex.join(self.words)} version --json` says {_last_line(done) or 'nothing'!r}"
            raise BundleError(
                str(host),
                f"{problem}, expected edgeexport {_minor(__version__)}",
                f"install edgeexport {__version__} there",
            )
        ours = version_facts()
        checks = [
            ("version", _minor(facts["edgeexport"]), _minor(__version__)),
            ("bundle_schema", facts["bundle_schema"], ours["bundle_schema"]),
            ("engine_schema", facts["engine_schema"], ours["engine_schema"]),
        ]
        for what, theirs, expected in checks:
            if theirs != expected:
                raise BundleError(
                    str(host),
                    f"has edgeexport {facts['edgeexport']} with {what} {theirs}, this one has {expected}",
                    f"install edgeexport {__version__} there, or use that version here",
                )

    def run(self, arguments: Sequence[str], kind: Kind[Answer], log: Path, on_stage: Callable[[str], None]) -> Answer:
        """Runs a command with ``--json`` there and returns its document, held to its model.

        Args:
            arguments: Such as ``["verify", "/home/me/..."]``; each arrives as it is.
            kind: What it prints.
            log: File here that all its lines on standard error go to, with the seconds since the start.
            on_stage: Hears of its stages as they come.

        Raises:
            EdgeExportError: What it raised there, by its exit code; where it stands begins with the host.
            DeviceError: The connection was dropped; or it is missing or was killed there.
            BundleError: It printed something else than such a document (exit code 9).
            BuildError: The log cannot be written.
        """
        words = [*self.words, *arguments, "--json"]
        with _Log(log) as stream:
            begun = time.monotonic()
            stream.write(f"$ {shlex.join(words)}    on {self.connection.host.place}\n")

            def on_line(line: str) -> None:
                stream.write(f"{time.monotonic() - begun:8.1f} s  {line}\n")
                if line.startswith(_STAGE):
                    on_stage(f"{self.connection.host.place}: {line[len(_STAGE) :]}")

            done = self.connection.command(words, on_line)
            stream.write(f"{time.monotonic() - begun:8.1f} s  exit code {done.code}\n")
        self._found(done)
        if done.code != 0:
            raise self._error(done, log)
        return parsed(done.out, kind, f"{self.connection.host}: what {shlex.join(self.words)} {arguments[0]} printed")

    def _found(self, done: Finished) -> None:
        """Raises `DeviceError` where the shell did not find the command."""
        if done.code in (126, 127):
            raise DeviceError(
                f"{self.connection.host}: {self.words[0]}", f"cannot be run there ({_last_line(done)})", _INSTALL
            )

    def _error(self, done: Finished, log: Path) -> EdgeExportError:
        host = str(self.connection.host)
        told = [line[len(_ERROR) :] for line in done.err.splitlines() if line.startswith(_ERROR)]
        if told and done.code in _ERRORS:
            where, problem, remedy = (*told[-1].split(" | ", 2), "", "")[:3]
            where, problem, remedy = (_renamed(text, self.names) for text in (where, problem, remedy))
            remedy = f"{remedy} (on the device: with --host {host})" if remedy else f"see {log}"
            return _ERRORS[done.code](f"{host}: {where}", problem or where, remedy)
        if done.code > 128:
            problem = f"edgeexport was ended there by signal {done.code - 128}"
            memory = "; the device may be short of memory" if done.code == 137 else ""
            return DeviceError(host, f"{problem}{memory}", f"see {log}, and run the same command again")
        kind = _ERRORS.get(done.code, DeviceError)
        return kind(host, f"edgeexport failed there with exit code {done.code} ({_last_line(done)})", f"see {log}")


class _Log:
    """The log of a command, written line by line, so that it is there whatever happens."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> TextIO:
        with disk_errors(self.path, "make the bundle folder writable"):
            self.path.unlink(missing_ok=True)  # a link that a bundle brought along is not written through
            self.stream = self.path.open("x", encoding="utf-8", buffering=1)
        return self.stream

    def __exit__(self, *_: object) -> None:
        self.stream.close()


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _last_line(done: Finished) -> str:
    lines = [line.strip(" \t│") for line in done.err.splitlines()]
    return next((line for line in reversed(lines) if any(letter.isalnum() for letter in line)), "")


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for there, here in names.items():
        text = text.replace(there, here)
    return text
