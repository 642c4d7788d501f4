"""A command that is told to end, by `kill`, a service manager or a closed terminal, clears up as after Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

__all__ = ["ended_like_an_interrupt"]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_INTERRUPTED = 130  # typer's exit code
_SECONDS_TO_CLEAR_UP = 5.0


@contextlib.contextmanager
def ended_like_an_interrupt() -> Iterator[None]:
    """Turns the first SIGTERM or SIGHUP of the block into a `KeyboardInterrupt`, and its exit code into 143 or 129.

    One that is ignored (`nohup`) stays so. Further ones within a few seconds do not disturb the clearing up: a terminal that
    is closed sends several.
    """
    received: list[tuple[int, float]] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not received or time.monotonic() - received[-1][1] > _SECONDS_TO_CLEAR_UP:
            received.append((number, time.monotonic()))
            raise KeyboardInterrupt

    here = threading.current_thread() is threading.main_thread()
    taken = [number for number in _SIGNALS if here and signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as ended:
        if received and getattr(ended, "code", _INTERRUPTED) == _INTERRUPTED:
            sys.exit(128 + received[0][0])
        raise
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
