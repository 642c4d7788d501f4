"""Under which circumstances two bundles were built and measured, and where these differ.

A latency says something about a bundle only beside others of the same board, power mode, clocks and runtime. Where these
differ, a condition on measured figures of both is refused; everything else is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeexport.comparison.clocks import clock_differences
from edgeexport.comparison.difference import Difference
from edgeexport.comparison.metrics import BundleFigures

__all__ = ["differences", "measured_elsewhere"]


_DECIDES, _SPEED, _TOLD = "decides", "speed", "told"

# (what, path in bench.json, what follows from it)
_MEASURED = (
    ("backend", ("backend",), _DECIDES),
    ("device", ("device", "name"), _DECIDES),
    ("board", ("device", "jetson", "model"), _DECIDES),  # CUDA calls the GPU of every Orin 'Orin'
    ("compute capability", ("device", "compute_capability"), _DECIDES),
    ("power mode", ("conditions", "before", "power_mode", "name"), _DECIDES),
    ("batch", ("bundle", "batch"), _DECIDES),
    ("processors in use", ("conditions", "before", "online_cpus"), _SPEED),
    ("engine", ("engine",), _SPEED),
    ("CUDA graph", ("protocol", "cuda_graph"), _SPEED),
    ("DLA core", ("engine_options", "dla_core"), _SPEED),
    ("plugins", ("engine_options", "plugins"), _SPEED),
    ("threads", ("engine_options", "threads"), _SPEED),
    ("workspace in MiB", ("engine_options", "workspace_mib"), _SPEED),
    ("stable", ("stable",), _SPEED),
    ("warm-up in ms", ("protocol", "warmup_ms"), _TOLD),
    ("duration in s", ("protocol", "duration_s"), _TOLD),
)
_BUILT = (
    ("recipe", ("name",), _TOLD),
    ("target", ("target",), _SPEED),
    ("precision", ("precision",), _SPEED),
    ("weights", ("weights", "statement"), _TOLD),
    ("edgeexport", ("edgeexport",), _TOLD),
)


def differences(a: BundleFigures, b: BundleFigures) -> tuple[Difference, ...]:
    """All differences of build and measurement, those of the measurement only where both were measured."""
    different = _found(a.bundle.manifest, b.bundle.manifest, _BUILT)
    if a.bench is not None and b.bench is not None:
        different += _found(a.bench, b.bench, _MEASURED)
        different += clock_differences(a.bench, b.bench)
        different += _version_differences(a.bench, b.bench)
    for file in sorted({*a.outdated, *b.outdated}):
        one, other = (side.outdated.get(file, "up to date") for side in (a, b))
        different.append(Difference(file, one, other, decisive=file == "bench.json"))
    return tuple(different)


def _found(
    a: Mapping[str, Any], b: Mapping[str, Any], entries: tuple[tuple[str, tuple[str, ...], str], ...]
) -> list[Difference]:
    return [
        Difference(what, *texts, decisive=follows == _DECIDES, speed=follows != _TOLD)
        for what, path, follows in entries
        if (texts := _differing(a, b, path)) is not None
    ]


def measured_elsewhere(different: tuple[Difference, ...]) -> Difference | None:
    """The first difference that forbids comparing measured figures."""
    return next((item for item in different if item.decisive), None)


def _version_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """Of the packages and runtimes that bench.json lists."""
    names = sorted({name for side in (a, b) for name in side.get("versions") or {}})
    compared = ((name, _differing(a, b, ("versions", name))) for name in names)
    return [
        Difference(f"version of {name}", *texts, decisive=False, speed=name in (a.get("backend"), b.get("backend")))
        for name, texts in compared
        if texts is not None
    ]


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], path: tuple[str, ...]) -> tuple[str, str] | None:
    pair = _at(a, path), _at(b, path)
    if pair[0] == pair[1]:
        return None
    first, second = ("unknown" if value is None else str(value) for value in pair)
    return first, second


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document
