"""Values of sysfs and procfs files. A file that is missing, unreadable or not yet filled (EAGAIN, as of a Jetson's powered
down accelerators) has no value; nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["number_of", "numbered", "text_of"]


def text_of(path: Path) -> str | None:
    """Content without surrounding blanks and zero bytes; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t")
    except OSError:
        return None


def number_of(path: Path) -> int | None:
    """The whole number that a file holds; None where there is none."""
    try:
        return int(text_of(path) or "")
    except ValueError:
        return None


def numbered(folder: Path, prefix: str) -> Iterator[Path]:
    """Entries called ``prefix`` and a number, in the order of that number: thermal_zone2 before thermal_zone10."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return
    entries = [(int(match.group(1)), name) for name in names if (match := re.fullmatch(rf"{prefix}(\d+)", name))]
    for _, name in sorted(entries):
        yield folder / name
