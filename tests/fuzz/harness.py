"""One rule for every input: what reads it works, or says in an error of edgeexport's own what is wrong with it.

Inputs are run in a child process that is forked for many of them, in which nothing may run code from the input, write outside
the input's own folder or connect anywhere, take 2 GB, or 30 seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.errors import EdgeExportError, error_of_system

__all__ = ["Finding", "Reader", "outcomes"]

SECONDS = 30
BYTES = 2 << 30

Reader = Callable[[Any, Path], None]
"""Reads one damage's input in a folder of its own (the current one), and returns or raises."""


@dataclass(frozen=True)
class Finding:
    """How an input ended that should not have: ``signature`` is the same for the same fault, ``detail`` tells more."""

    signature: str
    detail: str


class _Breach(BaseException):
    """Something that no input may bring about."""


class _Guard:
    """An audit hook: lives as long as the process, so it belongs into a child."""

    def __init__(self) -> None:
        self.folder = ""
        self.breach = ""

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        breach = ""
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path, mode, flags = arguments
            if (mode and any(letter in mode for letter in "wxa+")) or (
                not mode and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            ):
                breach = self._outside(path)
        elif event in ("os.rename", "os.link", "os.symlink"):
            breach = self._outside(arguments[1])
        elif event in ("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"):
            breach = self._outside(arguments[0], follow=False)
        elif event == "ctypes.dlopen" and arguments[0] and self._inside(str(arguments[0])):
            breach = f"the library {arguments[0]} is loaded"
        elif (
            event == "exec"
            and arguments[0].co_filename.startswith(self.folder)
            and not _named(arguments[0].co_filename)
        ):
            breach = f"{arguments[0].co_filename} is executed"
        elif event == "subprocess.Popen":
            program = os.fsdecode(arguments[0])
            if "/" in program and self._inside(program):  # others are found on PATH
                breach = f"{program} is started"
        elif event in ("os.system", "socket.connect", "pty.spawn"):
            breach = f"{event}{arguments!r}"
        elif event == "pickle.find_class" and arguments[0] in ("os", "posix", "nt", "subprocess", "builtins"):
            breach = f"pickle takes {arguments[0]}.{arguments[1]}"
        if breach and not self.breach:
            self.breach = breach
            raise _Breach(breach)

    def _inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self.folder)

    def _outside(self, path: object, *, follow: bool = True) -> str:
        if isinstance(path, int):
            return ""
        text = os.fsdecode(path)  # type: ignore[arg-type]
        if not follow:
            text = f"{os.path.realpath(os.path.dirname(text))}/{os.path.basename(text)}"  # noqa: PTH119, PTH120
        harmless = text.startswith("/dev/") or "__pycache__" in text
        return "" if harmless or self._inside(text) else f"{text} is written"


def _named(file: str) -> bool:
    """Whether the command line asks for it: a recipe is Python."""
    return Path(file).name in {Path(word).name for word in sys.argv}


def outcomes(read: Reader, damages: Iterable[Any], lay_out: Callable[[Path], None]) -> list[Finding | None]:
    """How each input ended, in the order given.

    Args:
        read: Runs in a child process.
        damages: What makes each input.
        lay_out: Puts what is damaged into the input's folder.
    """
    waiting = list(damages)
    found: list[Finding | None] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as top:
        while len(found) < len(waiting):
            found += _child(read, waiting[len(found) :], lay_out, Path(top).resolve())
    return found


def _child(read: Reader, damages: list[Any], lay_out: Callable[[Path], None], top: Path) -> list[Finding | None]:
    """Up to the first input at which the child had to be ended, or ended by itself."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            _work(read, damages, lay_out, top, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    found: list[Finding | None] = []
    ended, rest = "", b""
    with os.fdopen(reading, "rb", buffering=0) as stream:
        while True:
            if not select.select([stream], [], [], SECONDS + 15)[0]:
                os.kill(child, signal.SIGKILL)
                ended = f"more than {SECONDS} s in native code"
                break
            block = stream.read(1 << 16)
            if not block:
                break
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                told = json.loads(line)
                found.append(None if told is None else Finding(*told))
    _, status = os.waitpid(child, 0)
    if len(found) < len(damages):
        ended = ended or f"the process ended with status {os.waitstatus_to_exitcode(status)}"
        found.append(Finding(ended, (top / "native").read_text(errors="replace")[-2000:]))
    return found


def _work(read: Reader, damages: list[Any], lay_out: Callable[[Path], None], top: Path, answers: int) -> None:
    """In the child: every input in a folder of its own, with one line of answer each."""
    for number, name in ((1, "native"), (2, "native")):  # what native code prints
        os.dup2(os.open(top / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    limit = int(used.split()[1]) * 1024 + BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    guard = _Guard()
    sys.addaudithook(guard)
    signal.signal(signal.SIGALRM, _too_long)
    for place, damage in enumerate(damages):
        folder = top / "one"
        _cleared(folder)
        (folder / "cache").mkdir(parents=True)
        lay_out(folder)
        os.chdir(folder)
        os.environ |= {"TMPDIR": str(folder / "cache"), "XDG_CACHE_HOME": str(folder / "cache"), "PATH": "/nowhere"}
        tempfile.tempdir = str(folder / "cache")
        found = _one(read, damage, folder, guard)
        os.chdir("/")
        os.write(answers, json.dumps(None if found is None else [found.signature, found.detail]).encode() + b"\n")
        if place % 64 == 0:
            os.truncate(top / "native", 0)


def _one(read: Reader, damage: Any, folder: Path, guard: _Guard) -> Finding | None:
    guard.folder, guard.breach = f"{folder}/", ""
    begun, error = time.monotonic(), None
    signal.alarm(SECONDS)
    try:
        with _streams():
            read(damage, folder)
    except BaseException as raised:  # what it is, is judged below
        error = raised
    finally:
        signal.alarm(0)
        guard.folder = ""
    if guard.breach:
        return Finding(f"breach: {guard.breach.replace(str(folder), '')[:100]}", guard.breach)
    if time.monotonic() - begun > SECONDS:
        return Finding(f"hang at {_place(error)}", "".join(traceback.format_exception(error))[-3000:])
    told = error.__context__ if isinstance(error, SystemExit) and error.code in (None, *range(10)) else error
    if told is None or isinstance(told, EdgeExportError) or (isinstance(told, OSError) and error_of_system(told)):
        return None
    if told is not error and not isinstance(told, MemoryError):  # what the command line makes a message of
        return None
    return Finding(f"{type(told).__name__} at {_place(told)}", "".join(traceback.format_exception(told))[-3000:])


def _too_long(number: int, frame: Any) -> None:
    raise _Breach(f"more than {SECONDS} s")


def _place(error: BaseException | None) -> str:
    """The innermost line of edgeexport's that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    own = [frame for frame in frames if "/edgeexport/" in frame.filename] or list(frames)
    return f"{own[-1].filename.rpartition('/edgeexport/')[2]}:{own[-1].name}" if own else "an unknown place"


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """Streams as a terminal in UTF-8 has them."""
    with contextlib.ExitStack() as stack:
        for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
            stack.enter_context(redirect(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")))
        yield


def _cleared(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
