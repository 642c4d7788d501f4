"""Whether verify.json and bench.json are about the engine and the manifest that stand beside them now.

They stay where an engine is built again, and then describe one that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["engine_left_out", "outdated"]

Json = Mapping[str, Any]

_GRAPH = "model.onnx"


def outdated(document: Json, engine_files: Mapping[str, str], manifest_sha256: str) -> str:
    """What an earlier result is of.

    Args:
        document: verify.json or bench.json. An old one that does not name its engine's hash is not doubted.
        engine_files: engine.json's ``files``, the engine first; empty without an engine, or where it is not known.
        manifest_sha256: Of manifest.json now; empty where it is not known.

    Returns:
        Such as 'of an earlier engine (engine.plan 1234..., now 5678...)'; empty where it is about what is there.
    """
    manifest = document.get("manifest_sha256") or (document.get("bundle") or {}).get("manifest_sha256")
    if manifest and manifest_sha256 and manifest != manifest_sha256:
        return f"of another build of this bundle (manifest {_short(manifest)}, now {_short(manifest_sha256)})"
    engine = document.get("engine_sha256")
    if not engine or not engine_files:
        return ""
    name, now = next(iter(engine_files.items()))
    return "" if engine == now else f"of an earlier engine ({name} {_short(engine)}, now {_short(now)})"


def engine_left_out(document: Json, engine_files: Mapping[str, str]) -> str:
    """Says that model.onnx was executed where there is an engine; empty otherwise."""
    if document.get("engine") != _GRAPH or not engine_files:
        return ""
    return f"of {_GRAPH} in ONNX Runtime, not of {next(iter(engine_files))}"


def _short(sha256: object) -> str:
    return f"{str(sha256)[:12]}..."
