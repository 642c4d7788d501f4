"""A bundle's engine (engine.json) as the report shows it: what it is, what it came from, and where it was built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.backends.contract import BUILT_HERE, EngineRecord

__all__ = ["EngineView", "engine_view"]

Json = Mapping[str, Any]

_TIMING_CACHE = "timing.cache"


@dataclass(frozen=True)
class EngineView:
    """An engine in one line, its record at length, its files' hashes, and what to be warned of (empty: nothing)."""

    summary: str
    facts: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    warning: str


def engine_view(record: EngineRecord, manifest: Json, timing_cache_sha256: str = "") -> EngineView:
    """Reads the record.

    Args:
        record: engine.json. A page is read anywhere, so that 'this machine' is named.
        manifest: Of the bundle beside it; tells whether the engine is from its graph.
        timing_cache_sha256: Of timing.cache in the bundle; empty where there is none.
    """
    engine = next(iter(record.files))
    came = "built" if record.provenance == BUILT_HERE else record.provenance
    where = f"{came} on {record.device}" if record.provenance == BUILT_HERE else f"{came}: {record.device}"
    runtime = f"{record.backend} {record.backend_version}"
    chosen = [f"{name} = {value}" for name, value in record.options.items() if value not in (None, "", False)]
    facts = (
        ("engine", f"{engine}: {runtime}, {record.precision}"),
        ("engine's target", record.target),
        ("engine's device", where),
        ("engine's options", ", ".join(chosen)),
        ("engine's graph", f"{record.graph}, sha256 {record.graph_sha256}"),
        ("engine's plugin library", f"sha256 {record.plugins_sha256}" if record.plugins_sha256 else "none needed"),
        ("engine's build", f"{record.build_seconds:.1f} s"),
    )
    files = dict(record.files)
    if timing_cache_sha256:
        files.setdefault(_TIMING_CACHE, timing_cache_sha256)
    graph = manifest["files"].get(record.graph)
    other = graph is not None and graph != record.graph_sha256
    return EngineView(
        summary=f"{engine}: {runtime}, {record.precision}, for {record.target}, {where}",
        facts=tuple((name, text) for name, text in facts if text),
        files=tuple(files.items()),
        warning=f"built from another {record.graph} than the bundle's: build the engine again" if other else "",
    )
