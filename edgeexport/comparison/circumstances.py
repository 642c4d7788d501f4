"""Under which circumstances two bundles were built and measured, and where these differ.

A latency says something about a bundle only beside others of the same device, power mode and runtime. Where these differ,
a condition on measured figures of both is refused; everything else is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeexport.comparison.metrics import BundleFigures

__all__ = ["Difference", "differences", "measured_elsewhere"]


@dataclass(frozen=True)
class Difference:
    """What is not the same in A and B.

    Attributes:
        what: For people.
        a, b: As each bundle records it; 'unknown' where it does not.
        decisive: Whether measured figures cannot be compared because of it.
    """

    what: str
    a: str
    b: str
    decisive: bool

    def __str__(self) -> str:
        return f"{self.what}: A {self.a}, B {self.b}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


# (what, path in bench.json, whether it decides)
_MEASURED = (
    ("backend", ("backend",), True),
    ("device", ("device", "name"), True),
    ("compute capability", ("device", "compute_capability"), True),
    ("power mode", ("conditions", "before", "power_mode", "name"), True),
    ("processors in use", ("conditions", "before", "online_cpus"), False),
    ("engine", ("engine",), False),
    ("CUDA graph", ("protocol", "cuda_graph"), False),
    ("stable", ("stable",), False),
    ("warm-up in ms", ("protocol", "warmup_ms"), False),
    ("duration in s", ("protocol", "duration_s"), False),
)
_BUILT = (
    ("recipe", ("name",)),
    ("target", ("target",)),
    ("precision", ("precision",)),
    ("weights", ("weights", "statement")),
    ("edgeexport", ("edgeexport",)),
)


def differences(a: BundleFigures, b: BundleFigures) -> tuple[Difference, ...]:
    """All differences of build and measurement, those of the measurement only where both were measured."""
    found = [
        Difference(what, *texts, decisive=False)
        for what, path in _BUILT
        if (texts := _differing(a.bundle.manifest, b.bundle.manifest, path)) is not None
    ]
    if a.bench is not None and b.bench is not None:
        found += [
            Difference(what, *texts, decisive=decisive)
            for what, path, decisive in _MEASURED
            if (texts := _differing(a.bench, b.bench, path)) is not None
        ]
        found += _version_differences(a.bench, b.bench)
    return tuple(found)


def measured_elsewhere(found: tuple[Difference, ...]) -> Difference | None:
    """The first difference that forbids comparing measured figures."""
    return next((item for item in found if item.decisive), None)


def _version_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """Of the packages and runtimes that bench.json lists."""
    names = sorted({name for side in (a, b) for name in side.get("versions") or {}})
    found = ((name, _differing(a, b, ("versions", name))) for name in names)
    return [Difference(f"version of {name}", *texts, decisive=False) for name, texts in found if texts is not None]


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], path: tuple[str, ...]) -> tuple[str, str] | None:
    found = _at(a, path), _at(b, path)
    if found[0] == found[1]:
        return None
    first, second = ("unknown" if value is None else str(value) for value in found)
    return first, second


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document
