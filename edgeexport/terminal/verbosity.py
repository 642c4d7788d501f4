"""How much a command says on standard error: ``-q``, nothing, or ``-v``."""

from __future__ import annotations

__all__ = ["is_quiet", "is_verbose", "set_verbosity"]

_LEVELS = ("quiet", "normal", "verbose")
_level = ["normal"]


def set_verbosity(level: str) -> None:
    """``level``: 'quiet' (results, warnings and errors alone), 'normal', or 'verbose' (also how long a stage took, and where in
    the program an error came up).
    """
    assert level in _LEVELS
    _level[0] = level


def is_quiet() -> bool:
    """Whether progress and notes are left out."""
    return _level[0] == "quiet"


def is_verbose() -> bool:
    """Whether more is told than usual."""
    return _level[0] == "verbose"
