"""The hash of edgeexport's own program: figures that another program computed are not added up with its own.

It covers the whole package, for what a figure depends on is not confined to a few modules: a photograph's resize filter, a
class map's rounding and a metric's constant all change it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["program_sha256"]

_PACKAGE = Path(__file__).resolve().parents[1]


def program_sha256() -> str:
    """Hex sha256 over every .py file of the package, by its path in the package and its content."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
