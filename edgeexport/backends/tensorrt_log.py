"""TensorRT's log: kept for engine.log and for messages, printed nowhere.

TensorRT has one logger for the whole process: the first that it is given stays as long as a builder or runtime lives, and a
later one is passed over with a warning. So there is one here as well, and it hands each message to the log of whoever works.
"""

from __future__ import annotations

import functools
import re
from typing import Any

__all__ = ["EngineLog", "logger_for"]

_ERRORS = ("INTERNAL_ERROR", "ERROR")
_MESSAGE_CHARACTERS = 800
_PLACED = re.compile(r"\[(Dla|Gpu)Layer\]")
"""What the builder says of each layer when it knows an accelerator: as information in older releases, verbosely in newer."""


class EngineLog:
    """Lines as TensorRT logs them, without its verbose ones (but those that tell where a layer runs)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def receive(self) -> int:
        """From now on TensorRT's messages come here, until another log does this.

        Returns:
            The number of lines so far: ``since`` for what follows.
        """
        _receiving[:] = [self]
        return len(self.lines)

    def add(self, severity: str, message: str) -> None:
        """Keeps a message; ``severity`` by name, such as 'WARNING'."""
        if severity != "VERBOSE" or _PLACED.search(message):
            self.lines.append((severity, message))

    def text(self) -> str:
        """What engine.log holds."""
        return "".join(f"{severity}: {message}\n" for severity, message in self.lines)

    def errors(self, since: int = 0) -> str:
        """Errors in one line, the first ones first; '' where there were none. ``since``: a former length of ``lines``."""
        return self._joined(_ERRORS, since)

    def complaints(self, since: int = 0) -> str:
        """Likewise errors and warnings."""
        return self._joined((*_ERRORS, "WARNING"), since)

    def layers_by_device(self, since: int = 0) -> dict[str, int] | None:
        """How many layers the builder put on the accelerator ('dla') and on the GPU ('gpu'); None where it did not tell."""
        devices = [match[1].lower() for _, message in self.lines[since:] if (match := _PLACED.search(message))]
        return {"dla": devices.count("dla"), "gpu": devices.count("gpu")} if devices else None

    def _joined(self, severities: tuple[str, ...], since: int) -> str:
        messages = [" ".join(message.split()) for severity, message in self.lines[since:] if severity in severities]
        return "; ".join(dict.fromkeys(messages))[:_MESSAGE_CHARACTERS]


_receiving: list[EngineLog] = []


def logger_for(module: Any, log: EngineLog) -> Any:
    """The process's `ILogger` of TensorRT; its messages come to ``log`` from now on."""
    log.receive()
    return _process_logger(module)


@functools.lru_cache(maxsize=1)
def _process_logger(module: Any) -> Any:
    class Logger(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            for log in _receiving:
                log.add(severity.name, msg)

    return Logger()
