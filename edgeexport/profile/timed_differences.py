"""In what, besides the model, two bundles differ that are timed against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeexport.profile.timed_bundle import TimedBundle

__all__ = ["mode_name", "timed_differences"]

# Of an engine's options those that change how fast it runs; what else stands there follows from the model.
_OPTIONS = {
    "cuda_graph": "CUDA graph",
    "dla_core": "DLA core",
    "plugins": "plugins",
    "workspace_mib": "workspace in MiB",
    "threads": "threads",
    "provider": "provider",
}


def timed_differences(baseline: TimedBundle, candidate: TimedBundle) -> list[dict[str, str]]:
    """What a speed-up owes to something else than the model, JSON-ready.

    Returns:
        Entries ``what``, ``baseline``, ``candidate``; empty where everything but the model is the same. `check_comparable`
        has refused another device, runtime or batch.
    """
    return [
        {"what": what, "baseline": one, "candidate": other}
        for (what, one), (_, other) in zip(_described(baseline), _described(candidate), strict=True)
        if one != other
    ]


def mode_name(value: object) -> str:
    """A power mode as engine.json ('MAXN', 'id 7') or bench.json (with ``id`` and ``name``) has it; empty for none."""
    if isinstance(value, Mapping):
        value = value.get("name") or f"id {value.get('id')}"
    return "" if value is None else str(value)


def _described(timed: TimedBundle) -> list[tuple[str, str]]:
    manifest, image, options = timed.bundle.manifest, timed.feed.image, timed.options or {}
    shape = " x ".join(map(str, image.shape))
    return [
        ("precision", _text(manifest.get("precision"))),
        ("target", _text(manifest.get("target"))),
        ("input", f"{image.dtype} {shape}"),
        ("executes", timed.file),
        ("runtime's version", timed.runner.version),
        ("built in power mode", mode_name(options.get("power_mode")) or "unknown"),
        *((title, _text(options.get(name))) for name, title in _OPTIONS.items()),
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
