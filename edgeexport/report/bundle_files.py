"""The files of a bundle that the report is made of, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.backends.contract import EngineRecord
from edgeexport.bundle import Bundle, sha256_of
from edgeexport.cost.kernel_plan import Plans, read_plans
from edgeexport.cost.work import GraphWork, read_work

__all__ = ["BundleFiles", "read_bundle_files"]

Json = Mapping[str, Any]

_TIMING_CACHE = "timing.cache"


@dataclass(frozen=True)
class BundleFiles:
    """Content of the files named; None or empty where the bundle has no such file.

    ``timing_cache_sha256`` is that of timing.cache, ``manifest_sha256`` that of manifest.json.
    """

    manifest: Json
    tokens: Json | None = None
    parity: Json | None = None
    verify: Json | None = None
    bench: Json | None = None
    engine: EngineRecord | None = None
    work: GraphWork | None = None
    plans: Plans | None = None
    manifest_sha256: str = ""
    timing_cache_sha256: str = ""


def read_bundle_files(bundle: Bundle) -> BundleFiles:
    """Reads what is there.

    Raises:
        BundleError: One of the files is damaged.
    """
    cache = bundle.path / _TIMING_CACHE
    engine = _json_if_there(bundle, "engine.json")
    return BundleFiles(
        manifest=bundle.manifest,
        tokens=_json_if_there(bundle, "tokens.json"),
        parity=_json_if_there(bundle, "parity.json"),
        verify=_json_if_there(bundle, "verify.json"),
        bench=_json_if_there(bundle, "bench.json"),
        engine=None if engine is None else EngineRecord.from_dict(engine),
        work=read_work(bundle.path),
        plans=read_plans(bundle.path),
        manifest_sha256=sha256_of(bundle.path / "manifest.json"),
        timing_cache_sha256=sha256_of(cache) if cache.is_file() else "",
    )


def _json_if_there(bundle: Bundle, name: str) -> Any:
    return bundle.json(name) if (bundle.path / name).is_file() else None
