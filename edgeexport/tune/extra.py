"""Packages that an extra brings, and what to say where it is not installed."""

from __future__ import annotations

import importlib
from typing import Any

from edgeexport.errors import UsageError

__all__ = ["package_of_extra"]


def package_of_extra(module: str, extra: str) -> Any:
    """Imports a package. Raises: UsageError: It is not installed, or does not load."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        remedy = f"pip install 'edgeexport[{extra}]'"
        raise UsageError(f"this needs {module}", "it is not installed", remedy) from None
