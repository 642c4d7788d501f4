"""A bundle written all at once or not at all. Runs without torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgeexport.bundle.bundle import SCHEMA
from edgeexport.bundle.exchange import exchanged
from edgeexport.bundle.files import disk_errors, sync
from edgeexport.device.remains import clear_remains, partial_folder, remove_folder
from edgeexport.documents import read_document
from edgeexport.documents.manifest import ANY_MANIFEST
from edgeexport.errors import BundleError, ParityError, UsageError

__all__ = ["check_replaceable", "refuse_link_of_bundle", "staged_bundle"]

_FAMILY = SCHEMA.split("/")[0]


def check_replaceable(path: Path) -> None:
    """Refuses a destination that holds something other than a bundle, once what dead processes left of it is cleared.

    Raises:
        UsageError: ``path`` is a file, or a non-empty folder without a bundle's manifest.
    """
    place = _with_a_name(path)
    clear_remains(place.parent, place.name)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(str(path), "exists and is not a folder", "give another --work-dir")
    if path.is_dir() and any(path.iterdir()) and not _is_bundle(path):
        raise UsageError(
            str(path), "holds something that is not an edgeexport bundle, and is left alone", "give another --work-dir"
        )


@contextlib.contextmanager
def staged_bundle(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` to write into; takes its place when the block ends well.

    An error, Ctrl-C or SIGTERM removes it and leaves an existing bundle as it was; what a killed build left goes when the
    next one begins. There is no instant without a bundle where the system can exchange two folders. A `ParityError` keeps
    it as ``<path>.failed``, the evidence (with a number, where that name holds something else).

    Raises:
        UsageError: See `check_replaceable`.
        BuildError: The disk is full or not writable.
    """
    path = _with_a_name(path)
    check_replaceable(path)
    full = "free some space and build again; nothing was changed"
    with disk_errors(path.parent, "choose another --work-dir", when_full=full):
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(path.parent, path.name) as beside:
            staging = beside / path.name
            staging.mkdir()
            try:
                yield staging
            except ParityError as error:
                evidence = _evidence_folder(path)
                _replace_folder(staging, evidence)
                raise ParityError(error.where, error.problem, f"{error.remedy}; evidence is in {evidence}") from None
            check_replaceable(path)
            _sync(staging)
            _replace_folder(staging, path)


def refuse_link_of_bundle(folder: Path, option: str) -> None:
    """Refuses to write into a folder that is, or lies behind, a link inside a bundle: whoever packed it chose where that leads.

    Args:
        folder: To write into; may be missing.
        option: That named it, for the message.

    Raises:
        UsageError: See above.
    """
    place = folder.absolute()
    for link in (part for part in (place, *place.parents) if part.is_symlink()):
        if any(_is_bundle(above) for above in link.parents):
            problem = f"leads out of a bundle, by the link {link} that is packed in it"
            raise UsageError(f"{option} {folder}", problem, "give a folder beside the bundle, or remove the link")


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


def _with_a_name(path: Path) -> Path:
    """The current folder or one above have no name to put a sibling beside."""
    return path.resolve() if path.name in ("", "..") else path


def _sync(folder: Path) -> None:
    """A disk that is full may say so only now, while the earlier bundle stands."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                sync(stream)


def _replace_folder(source: Path, target: Path) -> None:
    """Puts ``source`` in the place of ``target``; what stood there is where ``source`` was, or gone."""
    if os.path.lexists(target) and exchanged(source, target):
        return
    retired = target.with_name(f".{target.name}.old-{os.getpid()}")
    remove_folder(retired)
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
            remove_folder(retired)
