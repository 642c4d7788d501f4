"""A bundle written all at once or not at all. Runs without torch."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgeexport.bundle.bundle import SCHEMA
from edgeexport.bundle.files import disk_errors
from edgeexport.documents import read_document
from edgeexport.documents.manifest import ANY_MANIFEST
from edgeexport.errors import BundleError, ParityError, UsageError

__all__ = ["check_replaceable", "staged_bundle"]

_FAMILY = SCHEMA.split("/")[0]


def check_replaceable(path: Path) -> None:
    """Refuses a destination that holds something other than a bundle.

    Raises:
        UsageError: ``path`` is a file, or a non-empty folder without a bundle's manifest.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(str(path), "exists and is not a folder", "give another --work-dir")
    if path.is_dir() and any(path.iterdir()) and not _is_bundle(path):
        raise UsageError(
            str(path), "holds something that is not an edgeexport bundle, and is left alone", "give another --work-dir"
        )


@contextlib.contextmanager
def staged_bundle(path: Path) -> Iterator[Path]:
    """A temporary sibling of ``path`` to write into; takes its place when the block ends well.

    An error or Ctrl-C removes it and leaves an existing bundle as it was. A `ParityError` keeps it as
    ``<path>.failed``, the evidence (with a number, where that name holds something else).

    Raises:
        UsageError: See `check_replaceable`.
        BuildError: The disk is full or not writable.
    """
    check_replaceable(path)
    if path.name in ("", ".."):  # the current folder or one above, which have no name to put a sibling beside
        path = path.resolve()
    staging = path.with_name(f".{path.name}.partial-{os.getpid()}")
    full = "free some space and build again; nothing was changed"
    try:
        with disk_errors(path.parent, "choose another --work-dir", when_full=full):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            yield staging
            check_replaceable(path)
            _replace_folder(staging, path)
    except ParityError as error:
        evidence = _evidence_folder(path)
        _replace_folder(staging, evidence)
        raise ParityError(error.where, error.problem, f"{error.remedy}; evidence is in {evidence}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_bundle(path: Path) -> bool:
    try:
        return read_document(path / "manifest.json", ANY_MANIFEST)["schema"].startswith(_FAMILY)
    except BundleError:
        return False


def _evidence_folder(path: Path) -> Path:
    """Where a failed build of ``path`` goes: nothing, or the evidence of an earlier one, stands there."""
    number = 1
    while True:
        folder = path.with_name(f"{path.name}.failed{'' if number == 1 else f'-{number}'}")
        if (folder / "parity.json").is_file() or not os.path.lexists(folder):
            return folder
        number += 1


def _replace_folder(source: Path, target: Path) -> None:
    """Renames ``source`` to ``target``; what stood there is removed only after the rename."""
    retired = target.with_name(f".{target.name}.old-{os.getpid()}")
    shutil.rmtree(retired, ignore_errors=True)
    try:
        if target.exists():
            target.rename(retired)
        source.rename(target)
    except BaseException:  # Ctrl-C between the two renames as well
        if retired.exists() and not target.exists():
            retired.rename(target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(retired, ignore_errors=True)
