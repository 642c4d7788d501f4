"""A bundle's engine in one line, for a terminal and for report.html."""

from __future__ import annotations

from edgeexport.backends.contract import EngineRecord

__all__ = ["engine_text"]


def engine_text(record: EngineRecord | None) -> str:
    """Which file, built by what, for what, on what; 'none' without an engine."""
    if record is None:
        return "none"
    engine = next(iter(record.files))
    runtime = f"{record.backend} {record.backend_version}, {record.precision}"
    return f"{engine}: {runtime}, for {record.target}, {record.provenance}: {record.device}"
