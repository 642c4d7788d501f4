"""mmsegmentation's modules, imported where they are needed: that takes seconds, and prints of packages that are not there."""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType

__all__ = ["mmsegmentation"]


def mmsegmentation(module: str) -> ModuleType:
    """A module such as ``'mmseg.utils'``.

    What its import prints goes to standard error: on standard output, --json has one object and nothing else.

    Raises:
        ImportError: mmsegmentation is not installed, or does not load.
    """
    with contextlib.redirect_stdout(sys.stderr):
        return importlib.import_module(module)
