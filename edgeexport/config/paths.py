"""Paths as recipes and their messages spell them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["absolute_path", "shown_path"]


def absolute_path(path: Path) -> Path:
    """``path`` made absolute and free of ``..``, as mmengine does it.

    Links are kept, unlike by `Path.resolve`: what a recipe names relative to itself lies beside the link.
    """
    return Path(os.path.abspath(path))  # noqa: PTH100


def shown_path(path: Path) -> str:
    """``path`` as a reader would type it: relative to the current folder where it lies inside, else absolute."""
    absolute = absolute_path(path)
    try:
        return str(absolute.relative_to(Path.cwd()))
    except (ValueError, FileNotFoundError):
        return str(absolute)
