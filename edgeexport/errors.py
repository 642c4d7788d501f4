"""The errors that edgeexport raises on purpose, each with the exit code of the command line.

Every message answers four questions in one line: where, what was found, what was expected, how to fix it.
What a compiler said follows in lines of its own.
"""

from __future__ import annotations

import difflib
import errno
import unicodedata
from collections.abc import Iterable

__all__ = [
    "BuildError",
    "BundleError",
    "CheckpointError",
    "ComparisonError",
    "DeviceError",
    "EdgeExportError",
    "ImageError",
    "LintError",
    "MeasurementError",
    "ParityError",
    "RecipeError",
    "UsageError",
    "error_of_memory",
    "error_of_system",
    "near_name",
    "nearest_hint",
    "plain_text",
]

_REMEDIES = {
    errno.EACCES: "check the permissions of it and of the folders above it",
    errno.EPERM: "check the permissions of it and of the folders above it",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ELOOP: "the links lead in a circle: give the file itself",
    errno.EROFS: "give another place, which can be written to",
}
_NEAR = 0.6  # difflib's similarity: two slips in a word of five letters are no longer near
_TORCH_REFUSED = "can't allocate memory"
_NAMELESS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)


class EdgeExportError(Exception):
    """Base of all deliberate errors.

    Args:
        where: File, key, node or command the message is about.
        problem: What was found, against what was expected.
        remedy: What the reader can do; may be empty.
        details: Further lines, such as a compiler's; shown below, indented, so that none looks like a message of ours.
    """

    exit_code = 1

    def __init__(self, where: str, problem: str, remedy: str = "", details: Iterable[str] = ()) -> None:
        self.where, self.problem, self.remedy = map(plain_text, (where, problem, remedy))
        self.details = tuple(map(plain_text, details))
        line = " | ".join(part for part in (self.where, self.problem, self.remedy) if part)
        super().__init__("\n  ".join((line, *self.details)))

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form: what --json prints in a document's place."""
        told = {"where": self.where, "problem": self.problem, "remedy": self.remedy, "details": list(self.details)}
        return {"kind": type(self).__name__, "exit_code": self.exit_code, **told}


class UsageError(EdgeExportError):
    """A command was called with arguments that do not fit."""

    exit_code = 2


class RecipeError(EdgeExportError):
    """A recipe cannot be read, or asks for something impossible."""

    exit_code = 2


class CheckpointError(EdgeExportError):
    """A checkpoint is missing, damaged, unsafe, or does not fit the model."""

    exit_code = 2


class ImageError(EdgeExportError):
    """An image cannot be read."""

    exit_code = 2


class LintError(EdgeExportError):
    """A graph is not static, or uses an operator that the target refuses."""

    exit_code = 3


class ParityError(EdgeExportError):
    """Two executions of the same model disagree."""

    exit_code = 4


class BuildError(EdgeExportError):
    """A build stage failed: export, engine, disk."""

    exit_code = 5


class MeasurementError(EdgeExportError):
    """A measurement cannot be made here, or was made under conditions that changed."""

    exit_code = 6


class DeviceError(EdgeExportError):
    """A device cannot be reached, or is not ready to be used."""

    exit_code = 7


class ComparisonError(EdgeExportError):
    """A bundle fails a condition of ``edgeexport compare``."""

    exit_code = 8


class BundleError(EdgeExportError):
    """A bundle is damaged, incomplete, or from an incompatible version."""

    exit_code = 9


def near_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` may be a misspelling of; None where none is near. Case does not count."""
    lowered = {other.lower(): other for other in sorted(known)}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=_NEAR)
    return lowered[close[0]] if close else None


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Returns ``did you mean 'x'?`` for a misspelt name, or the list of known names."""
    close = near_name(name, known)
    return f"did you mean '{close}'?" if close else "known: " + ", ".join(sorted(known))


def plain_text(text: str, keep: str = "") -> str:
    r"""Text of a stranger, such as a file's name, as one line that any terminal, log and document takes.

    Args:
        text: May hold control characters, which move a cursor or forge a line, and bytes that are no UTF-8 (as Python reads
            such names: one surrogate per byte).
        keep: Characters that stay, such as a line's end.

    Returns:
        With what is not printable spelt out: ``\x1b``, ``\n``, ``\u202e``; a byte that is no UTF-8 as ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(sign if _is_plain(sign) or sign in keep else _spelt_out(sign) for sign in text)


def error_of_system(error: OSError) -> UsageError | None:
    """What to tell of a file that the system refuses, wherever it was met; None for errors that are about no file."""
    if error.filename is None and error.errno not in _NAMELESS:
        return None
    where = "" if error.filename is None else str(error.filename)
    reason = error.strerror or str(error)
    return UsageError(where, reason[:1].lower() + reason[1:], _REMEDIES.get(error.errno or 0, "check the path"))


def error_of_memory(error: Exception) -> BuildError | None:
    """What to tell where memory was refused, by Python, NumPy or torch; None for other errors."""
    lines = str(error).splitlines() or [""]
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _TORCH_REFUSED in lines[0]):
        problem = f"is not enough: {lines[0]}" if lines[0] else "is not enough"
        return BuildError("memory", problem, "use a smaller batch, input or model, or another machine")
    return None


def _is_plain(sign: str) -> bool:
    return sign.isprintable() or unicodedata.category(sign) == "Zs"  # spaces of all widths, which a Mac puts into names


def _spelt_out(sign: str) -> str:
    byte = ord(sign) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else sign.encode("unicode_escape").decode()
