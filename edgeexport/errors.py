"""The errors that edgeexport raises on purpose, each with the exit code of the command line.

Every message answers four questions in one line: where, what was found, what was expected, how to fix it.
"""

from __future__ import annotations

import difflib
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
    "nearest_hint",
]


class EdgeExportError(Exception):
    """Base of all deliberate errors.

    Args:
        where: File, key, node or command the message is about.
        problem: What was found, against what was expected.
        remedy: What the reader can do; may be empty.
    """

    exit_code = 1

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        self.where, self.problem, self.remedy = where, problem, remedy
        super().__init__(" | ".join(part for part in (where, problem, remedy) if part))


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


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Returns ``did you mean 'x'?`` for a misspelt name, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(known)
