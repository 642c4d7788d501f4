"""Where a bundle may lie, and whether something can be written: asked before a long run, not at its end. No torch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from edgeexport.bundle.files import disk_errors, replaced_file, sync
from edgeexport.errors import BuildError, EdgeExportError, UsageError

__all__ = ["WEIGHTS_FILE", "check_bundle_path", "check_writable"]

WEIGHTS_FILE = "weights.bin"
"""Weights that a bundle's graphs refer to, where they do not lie in the graphs."""

_LONGEST_NAME = 200  # bytes: file systems take 255, and what stands beside a bundle for a while has longer names


class _Enough(Exception):
    """Ends the writing of a file that was only tried out, so that it takes no place."""


def check_bundle_path(path: Path) -> None:
    """Refuses what ONNX Runtime and TensorRT cannot open, and names that leave no room for longer ones beside them.

    Raises:
        UsageError: The path is no UTF-8, or the folder's name has too many bytes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        problem = "the path of a bundle has to be UTF-8: the runtimes open no other"
        raise UsageError(str(path), problem, "rename the folder") from None
    size = len(os.fsencode(path.name))
    if size > _LONGEST_NAME:
        problem = f"the folder's name has {size} bytes, a bundle's may have {_LONGEST_NAME}"
        raise UsageError(str(path), problem, "give a shorter name")


def check_writable(file: Path, remedy: str, kind: type[EdgeExportError] = BuildError) -> None:
    """Makes the folder of a file that is to be written, and tries to write there; an earlier file stays as it is.

    Raises:
        BuildError: Or ``kind``: it cannot be written.
    """
    with disk_errors(file, remedy, kind=kind):
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            file.lstat()  # a name too long for the file system
        with suppress(_Enough), replaced_file(file) as stream:
            stream.write(b"-")
            stream.flush()
            sync(stream)
            raise _Enough
