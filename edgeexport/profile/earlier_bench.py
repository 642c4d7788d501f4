"""A measurement that holds less than the one before it does not take its place without a trace. Runs without torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeexport import documents
from edgeexport.bundle.files import replaced_file
from edgeexport.errors import BundleError

__all__ = ["BENCH", "EARLIER_FILES", "POWER_CSV", "keep_fuller"]

BENCH = "bench.json"
POWER_CSV = "power.csv"
EARLIER_FILES = {BENCH: "bench.earlier.json", POWER_CSV: "power.earlier.csv"}
"""What is kept, and under which name."""

_PARTS = {"baseline": "a comparison with a baseline", "power": "energy"}


def keep_fuller(folder: Path, document: Mapping[str, Any]) -> str:
    """Keeps bench.json, and power.csv with it, as `EARLIER_FILES` where it has a part that ``document`` lacks.

    Args:
        folder: The bundle; ``document`` is about to take the place of its bench.json.
        document: Content of the new one.

    Returns:
        What was kept and why, for people; empty where nothing was.

    Raises:
        OSError: It cannot be written.
    """
    file = folder / BENCH
    try:
        earlier = None if file.is_symlink() else documents.read_document(file, documents.BENCH)
    except BundleError:
        return ""
    if earlier is None:
        return ""
    lost = [text for part, text in _PARTS.items() if earlier.get(part) and not document.get(part)]
    if not lost:
        return ""
    kept = [name for name in EARLIER_FILES if (folder / name).is_file() and not (folder / name).is_symlink()]
    for name in kept:
        with (folder / name).open("rb") as source, replaced_file(folder / EARLIER_FILES[name]) as copy:
            shutil.copyfileobj(source, copy)
    return f"the measurement before this one has {' and '.join(lost)}; it is kept as {EARLIER_FILES[BENCH]}"
