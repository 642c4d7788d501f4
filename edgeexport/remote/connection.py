"""One ssh connection to a device, shared by every command sent to it.

A master process keeps the connection; commands are sessions on it through a control socket in a private folder. All of
them live on pipes of this process: if it goes, however it goes, the device sees the end of their input and stops.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from edgeexport.errors import DeviceError, UsageError
from edgeexport.remote.failures import connection_failure, dropped, script_failure
from edgeexport.remote.ssh import MARK, Host, master_command, remote_command, session_command

__all__ = ["Connection", "Finished"]

_BLOCK = 1 << 16
_MARK_LINE = f"{MARK}\n".encode()
_SHELL_SECONDS = 60.0
_SOCKET_BYTES = 80  # sun_path holds 104 bytes on some systems, and ssh appends 18 while it binds
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.-]+")  # ssh expands % ~ ${} in a control path

# $XDG_CACHE_HOME may be set for non-interactive shells only; the answer is absolute, whatever the start folder is.
_OPEN = (
    'umask 077; root=${XDG_CACHE_HOME:-$HOME/.cache}/edgeexport/remote; mkdir -p "$root" && cd "$root" && pwd -P '
    "&& exec cat >/dev/null"
)

# The command takes the shell's place, so that `kill` reaches it. A watcher waits for the end of its input, which is the
# end of the connection, and then interrupts it: as Ctrl-C would, so that it clears up; after ten seconds for good.
_WATCHED = (
    "exec 3<&0 </dev/null; { cat <&3; kill -INT $$ || exit; n=0; while [ $n -lt 10 ]; do sleep 1; kill -0 $$ || exit; "
    'n=$((n+1)); done; kill -TERM $$; } >/dev/null 2>&1 & exec 3<&- "$@"'
)
# The outer shell turns death by a signal into an exit code, which ssh itself does not pass on.
_COMMAND = 'watched=$1; shift; sh -c "$watched" sh "$@"; exit $?'
_INTERRUPTED_SECONDS = 12.0


@dataclass(frozen=True)
class Finished:
    """A command on the device that has ended: exit code, standard output, and standard error as text."""

    code: int
    out: bytes
    err: str


class Connection:
    """An open connection; a context manager.

    Attributes:
        host: Whom to.
        folder: Absolute path of the cache folder on the device that bundles are sent to.

    Raises (on entering):
        DeviceError: Unreachable, another or unknown host key, login refused (exit code 7).
        UsageError: No ssh on this machine.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.folder = ""
        self._ssh = ""
        self._private: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Connection:
        program = shutil.which("ssh")
        if program is None:
            raise UsageError("ssh", "is not installed here", "install OpenSSH's client (apt install openssh-client)")
        self._ssh = program
        try:
            self._private = _private_folder()
            self.folder = self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def script(self, what: str, script: str, *arguments: str, feed: Iterable[bytes] = ()) -> bytes:
        """Runs a script of ours on the device and returns its standard output.

        Args:
            what: What it does, for messages: 'receive model.onnx'.
            script: For ``sh``, on one line.
            arguments: Its ``$1 $2 ...``.
            feed: Its standard input.

        Raises:
            DeviceError: It failed, or the connection was dropped.
        """
        done = self._run(remote_command(f"export LC_ALL=C; {script}", arguments), feed, hold=False)
        if done.code != 0:
            raise script_failure(self.host, what, done.code, done.err)
        return done.out

    def command(self, words: list[str], on_line: Callable[[str], None]) -> Finished:
        """Runs a program on the device, without input; Ctrl-C here, or a lost connection, interrupts it there.

        Args:
            words: Program and arguments.
            on_line: Called with each line of standard error as it comes.

        Raises:
            DeviceError: The connection was dropped.
        """
        return self._run(remote_command(_COMMAND, [_WATCHED, *words]), (), hold=True, on_line=on_line)

    def _open(self) -> str:
        """Starts the master and returns the cache folder that it finds on the device."""
        assert self._private is not None
        words = master_command(self._ssh, self.host, str(self._private / "s"), remote_command(_OPEN))
        with (self._private / "messages").open("wb") as messages:
            self._master = _started(words, messages)
        answer = b""
        deadline = time.monotonic() + _SHELL_SECONDS
        with selectors.DefaultSelector() as selector:
            assert self._master.stdout is not None
            selector.register(self._master.stdout, selectors.EVENT_READ)
            while not (folder := _after_mark(answer)).endswith(b"\n"):
                if not selector.select(deadline - time.monotonic()):
                    self._master.terminate()  # its last words would not tell more
                    raise DeviceError(
                        str(self.host),
                        f"the login shell there has not answered in {_SHELL_SECONDS:.0f} s",
                        f"see what holds it up: {self.host.ssh_by_hand}",
                    )
                block = os.read(self._master.stdout.fileno(), _BLOCK)
                if not block:
                    raise self._not_opened(answer)
                answer += block
        return os.fsdecode(folder[:-1])

    def _not_opened(self, answer: bytes) -> DeviceError:
        assert self._master is not None
        code = self._master.wait()
        if code == 255:
            return connection_failure(self.host, self._messages())
        if _MARK_LINE in answer:
            return script_failure(self.host, "make the cache folder", code, self._messages())
        said = (answer.decode(errors="replace") + self._messages()).strip().splitlines()
        return DeviceError(
            str(self.host),
            f"the login there runs no commands ({said[-1].strip() if said else f'exit code {code}'})",
            f"use a user with a login shell; this has to print a line: {self.host.ssh_by_hand} echo a line",
        )

    def _messages(self) -> str:
        """What the master has printed."""
        assert self._private is not None
        return (self._private / "messages").read_text(errors="replace")

    def _run(
        self, command: str, feed: Iterable[bytes], *, hold: bool, on_line: Callable[[str], None] = lambda line: None
    ) -> Finished:
        assert self._private is not None
        words = session_command(self._ssh, self.host, str(self._private / "s"), command)
        process = _started(words, subprocess.PIPE)
        try:
            done = _conversation(process, iter(feed), hold, on_line)
        except BaseException:  # Ctrl-C: the program there gets the time to clear up
            with contextlib.suppress(OSError, subprocess.TimeoutExpired, ValueError):
                _close_input(process)
                process.communicate(timeout=_INTERRUPTED_SECONDS if hold else 0.1)
            process.kill()
            process.wait()
            raise
        if done.code == 255 and self._gone():
            raise dropped(self.host, self._messages())
        if _MARK_LINE not in done.out:
            said = done.err.strip().splitlines()
            why = said[-1] if said else f"exit code {done.code}"
            raise DeviceError(str(self.host), f"a command did not start there ({why})", "see the sshd's log there")
        return Finished(done.code, _after_mark(done.out), done.err)

    def _gone(self) -> bool:
        """Whether the master has ended; it may need a moment longer than its sessions."""
        assert self._master is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._master.wait(3.0)
        return self._master.poll() is not None

    def _close(self) -> None:
        if self._master is not None:
            with contextlib.suppress(OSError):
                _close_input(self._master)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._master.wait(2.0)
            if self._master.poll() is None:
                self._master.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._master.wait(2.0)
            self._master.kill()
            self._master.wait()
            if self._master.stdout is not None:
                self._master.stdout.close()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)


def _private_folder() -> Path:
    """For the control socket, whose path has to be short and plain."""
    for parent in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"):
        if _PLAIN_PATH.fullmatch(parent) and len(parent) + 12 <= _SOCKET_BYTES and Path(parent).is_dir():
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="eex", dir=parent))
    raise UsageError(
        f"TMPDIR={tempfile.gettempdir()}",
        f"no folder for a socket: expected a path of letters, digits, / _ . - and at most {_SOCKET_BYTES - 12} of them",
        "set TMPDIR to such a folder",
    )


def _started(words: list[str], stderr: IO[bytes] | int) -> subprocess.Popen[bytes]:
    # In a session of its own: Ctrl-C goes to this process, which then ends the connection in order.
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0, start_new_session=True
    )


def _conversation(
    process: subprocess.Popen[bytes], feed: Iterator[bytes], hold: bool, on_line: Callable[[str], None]
) -> Finished:
    """Writes and reads until the process has closed its outputs. ``hold`` keeps its input open till then."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    out, err, line = bytearray(), bytearray(), bytearray()
    pending = memoryview(b"")
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        if not hold:
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while process.stdout in selector.get_map() or process.stderr in selector.get_map():
            for key, _ in selector.select():
                stream = key.fileobj
                if stream is process.stdin:
                    pending = pending or memoryview(next(feed, b""))
                    ended = not pending
                    if pending:
                        try:
                            pending = pending[os.write(key.fd, pending) :]
                        except BrokenPipeError:  # it reads no more; why, its output and exit code tell
                            ended = True
                    if ended:
                        selector.unregister(process.stdin)
                        _close_input(process)
                    continue
                block = os.read(key.fd, _BLOCK)
                if not block:
                    selector.unregister(stream)
                elif stream is process.stdout:
                    out += block
                else:
                    err += block
                    line += block
                    *complete, rest = bytes(line).split(b"\n")
                    line = bytearray(rest)
                    for text in complete:
                        on_line(text.decode(errors="replace").rstrip("\r"))
    if line:
        on_line(line.decode(errors="replace"))
    with contextlib.suppress(OSError):
        _close_input(process)
    process.stdout.close()
    process.stderr.close()
    return Finished(process.wait(), bytes(out), err.decode(errors="replace"))


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        stream, process.stdin = process.stdin, None
        stream.close()


def _after_mark(out: bytes) -> bytes:
    """A script's own output: behind the mark that stands on a line of its own."""
    _, mark, rest = out.partition(_MARK_LINE)
    return rest if mark else b""
