"""Versions of packages, for what is written down beside figures."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

from edgeexport.version import __version__

__all__ = ["versions_of"]


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """edgeexport's own, and of those of ``packages`` that are installed under this name."""
    versions = {"edgeexport": __version__}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # installed under another name, or not at all
            continue
    return versions
