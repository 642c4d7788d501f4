"""TensorRT's log: kept for engine.log and for messages, printed nowhere."""

from __future__ import annotations

from typing import Any

__all__ = ["EngineLog", "logger_for"]

_ERRORS = ("INTERNAL_ERROR", "ERROR")
_MESSAGE_CHARACTERS = 800


class EngineLog:
    """Lines as TensorRT logs them, without its verbose ones."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def add(self, severity: str, message: str) -> None:
        """Keeps a message; ``severity`` by name, such as 'WARNING'."""
        if severity != "VERBOSE":
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

    def _joined(self, severities: tuple[str, ...], since: int) -> str:
        found = [" ".join(message.split()) for severity, message in self.lines[since:] if severity in severities]
        return "; ".join(dict.fromkeys(found))[:_MESSAGE_CHARACTERS]


def logger_for(module: Any, log: EngineLog) -> Any:
    """An `ILogger` of TensorRT that writes to ``log``; what is made with it holds it."""

    class Logger(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            log.add(severity.name, msg)

    return Logger()
