"""Two folders change places in one step, where the system can: no instant without either. Runs without torch."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

__all__ = ["exchanged"]

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.ENOTSUP, errno.EPERM)


def exchanged(one: Path, other: Path) -> bool:
    """Makes each the other.

    Returns:
        False where the system or the file system (NFS; a folder of a container's image) cannot; nothing is changed then.

    Raises:
        OSError: One is missing, or it is not allowed.
    """
    renameat2 = getattr(_library(), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _library() -> ctypes.CDLL | None:
    """The C library that this process runs with."""
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):  # Windows
        return None
