"""Under which clocks two measurements were made (bench.json's ``conditions.before``), and where these differ.

A power mode bounds the clocks, `jetson_clocks` pins them, and an operator may set others: the same board in the same mode
runs at half the speed at half the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgeexport.comparison.difference import Difference

__all__ = ["clock_differences"]

Json = Mapping[str, Any]

_TOLERANCE = 0.02
"""Of a clock. Counters that measure a pinned clock differ from the set value by some tenths of a per cent."""

_GPU, _CPU, _MEMORY = "gpu", "cpu", "memory"
_TITLES = {_GPU: "GPU", _CPU: "CPU", _MEMORY: "memory"}


def clock_differences(a: Json, b: Json) -> list[Difference]:
    """Everything that decides, of two bench.json.

    That is: the clock of the processor that did the work, of a GPU as read under load, of a CPU its limit (its clock never
    rests); whether that of GPU and CPU were pinned; the memory's clock, and the cap on it.
    """
    on_gpu = any((side.get("device") or {}).get("compute_capability") is not None for side in (a, b))
    compared = [
        _hertz("GPU clock", *(_values(side, _GPU, "current_hz") or _values(side, _GPU, "max_hz") for side in (a, b)))
        if on_gpu
        else _hertz("CPU clock at most", *(_values(side, _CPU, "max_hz") for side in (a, b))),
        _loose(a, b, (_GPU, _CPU) if on_gpu else (_CPU,)),
        _hertz("memory clock", *(_values(side, _MEMORY, "current_hz") for side in (a, b)), known=True),
        _caps(a, b),
    ]
    return [item for item in compared if item is not None]


def _clocks(bench: Json, drives: tuple[str, ...]) -> list[Json]:
    reading = (bench.get("conditions") or {}).get("before") or {}
    clocks = [clock for clock in reading.get("clocks") or () if isinstance(clock, Mapping)]
    return [clock for clock in clocks if clock.get("drives") in drives]


def _values(bench: Json, drives: str, key: str) -> list[float]:
    """In hertz, ascending: names differ between releases of the system, so clocks are not told apart by them."""
    frequencies = [clock.get(key) for clock in _clocks(bench, (drives,))]
    return sorted(float(value) for value in frequencies if isinstance(value, (int, float)))


def _hertz(what: str, a: list[float], b: list[float], *, known: bool = False) -> Difference | None:
    """``known``: only where both tell it, since it takes the superuser to read."""
    if known and not (a and b):
        return None
    near = (abs(one - other) <= _TOLERANCE * max(one, other) for one, other in zip(a, b, strict=False))
    if len(a) == len(b) and all(near):
        return None
    return _decisive(what, *(_megahertz(side) if side else "unknown" for side in (a, b)))


def _megahertz(values: Iterable[float]) -> str:
    return ", ".join(dict.fromkeys(f"{value / 1e6:.0f}" for value in values)) + " MHz"


def _loose(a: Json, b: Json, drives: tuple[str, ...]) -> Difference | None:
    """Clocks without limits (a PC's GPU) are neither pinned nor loose."""
    texts = []
    for side in (a, b):
        clocks = [clock for clock in _clocks(side, drives) if clock.get("min_hz") is not None]
        moving = [_TITLES[name] for name in drives if any(not c.get("pinned") and c["drives"] == name for c in clocks)]
        texts.append("unknown" if not clocks else f"not of {' and '.join(moving)}" if moving else "all")
    return None if texts[0] == texts[1] else _decisive("clocks pinned", *texts)


def _caps(a: Json, b: Json) -> Difference | None:
    """A cap that is not set and one that cannot be read are told apart."""
    clocks = [_clocks(side, (_MEMORY,)) for side in (a, b)]
    values = [_values(side, _MEMORY, "max_hz") for side in (a, b)]
    if bool(clocks[0]) == bool(clocks[1]) and _hertz("", *values) is None:
        return None
    texts = [
        _megahertz(value) if value else "none" if there else "unknown"
        for value, there in zip(values, clocks, strict=True)
    ]
    return _decisive("cap on the memory clock", *texts)


def _decisive(what: str, a: str, b: str) -> Difference:
    return Difference(what, a, b, decisive=True, speed=True)
