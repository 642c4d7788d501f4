"""Plugin libraries and engines are native code: only what this user's edgeexport made here, or the user named, is loaded.

What was made here is known by its sha256, which is the name of a file in ``made_here`` in the user's cache. What a bundle says
of itself counts for nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path

from edgeexport.errors import BundleError, UsageError
from edgeexport.plugin.search import cache_folder

__all__ = [
    "TRUST_VARIABLE",
    "check_trusted",
    "is_trusted",
    "remember_made_here",
    "trusted_bytes",
    "trusting",
]

TRUST_VARIABLE = "EDGEEXPORT_TRUST_FILE"
"""Names files of hashes, as PATH names folders."""

_RECORD = "made_here"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-fA-F]{64})(\s.*)?")
_FILE_BYTES = 1 << 20
_named: ContextVar[frozenset[str]] = ContextVar("hashes that the user named", default=frozenset())


def remember_made_here(files: Mapping[str, str], cache: Path | None = None) -> None:
    """Records files that were compiled or built here: name -> sha256.

    Raises:
        OSError: The user's cache cannot be written.
    """
    folder = _record(cache)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, sha256 in files.items():
        (folder / sha256).write_text(f"{name}\n", encoding="utf-8")  # it counts that the file is there


def is_trusted(sha256: str, cache: Path | None = None) -> bool:
    """Whether native code of that hash was made here, or named by the user.

    Raises:
        UsageError: A file that EDGEEXPORT_TRUST_FILE names is missing, or is no list of hashes.
    """
    if not _SHA256.fullmatch(sha256):
        return False
    try:
        made_here = (_record(cache) / sha256).is_file()
    except PermissionError:  # another user's
        made_here = False
    return made_here or sha256 in _named_hashes()


def check_trusted(path: Path, sha256: str, again: str) -> None:
    """Refuses native code from elsewhere that nobody named.

    Args:
        path: The file.
        sha256: Of what is about to be loaded from it.
        again: How it is made here.

    Raises:
        BundleError: See above (exit code 9).
        UsageError: As `is_trusted` does.
    """
    if not is_trusted(sha256):
        problem = f"was not made on this machine by you, and is code that would run (sha256 {sha256})"
        raise BundleError(str(path), problem, f"{again}; or, if you know who made it, give --trust {sha256}")


def trusted_bytes(path: Path, again: str) -> bytes:
    """A file's content, of which exactly these bytes were held to the record.

    Raises:
        BundleError, UsageError: As `check_trusted` does.
        OSError: It cannot be read.
    """
    content = path.read_bytes()
    check_trusted(path, hashlib.sha256(content).hexdigest(), again)
    return content


@contextlib.contextmanager
def trusting(hashes: Sequence[str] = (), files: Iterable[Path] = ()) -> Iterator[None]:
    """Within the block, native code of these hashes may be loaded, beside what is trusted anyway.

    Args:
        hashes: Hex sha256 of files.
        files: As sha256sum writes them: a hash and a name in each line; empty lines and those that begin with # are left out.

    Raises:
        UsageError: No hash, a missing file, or one that is no list of hashes.
    """
    wrong = next((text for text in hashes if not _SHA256.fullmatch(text.lower())), None)
    if wrong is not None:
        remedy = "sha256sum FILE prints it"
        raise UsageError(f"--trust {wrong}", "is no sha256, expected 64 hexadecimal digits", remedy)
    added = frozenset(text.lower() for text in hashes).union(*(_hashes_from_file(file) for file in files))
    token = _named.set(_named.get() | added)
    try:
        yield
    finally:
        _named.reset(token)


def _named_hashes() -> frozenset[str]:
    """What the user named: in `trusting`, and in the files of EDGEEXPORT_TRUST_FILE."""
    files = [Path(name) for name in os.environ.get(TRUST_VARIABLE, "").split(os.pathsep) if name]
    return _named.get().union(*(_hashes_from_file(file) for file in files))


def _record(cache: Path | None) -> Path:
    return (cache_folder(os.environ) if cache is None else cache) / _RECORD


def _hashes_from_file(path: Path) -> frozenset[str]:
    remedy = f"give a file that sha256sum wrote (--trust-file, or {TRUST_VARIABLE})"
    try:
        with path.open("rb") as stream:
            content = stream.read(_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(str(path), f"cannot be read: {error.strerror or error}", remedy) from None
    if len(content) > _FILE_BYTES:
        raise UsageError(str(path), f"is larger than {_FILE_BYTES} bytes, expected a list of hashes", remedy)
    hashes = set()
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(f"{path}:{number}", f"is {line[:80]!r}, expected a sha256 and a name", remedy)
        hashes.add(match[1].lower())
    return frozenset(hashes)
