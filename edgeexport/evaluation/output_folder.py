"""What cannot be written where the user asked for it is a mistake of the request, not of the program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeexport.errors import UsageError

__all__ = ["UNWRITABLE", "written_to"]

UNWRITABLE = "free some space or give another --out-dir"


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Around the writing of a file or folder below ``--out-dir``.

    Raises:
        UsageError: The disk is full or not writable.
    """
    try:
        yield
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise UsageError(str(path), problem, UNWRITABLE) from error
