"""Clocks under which two measurements were made."""

from __future__ import annotations

from typing import Any

import pytest
from comparison_cases import bench

from edgeexport.comparison.clocks import clock_differences

MHZ = 1_000_000


def clock(drives: str, current: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    hertz = [None if value is None else int(value * MHZ) for value in (current, low, high)]
    names = ("current_hz", "min_hz", "max_hz")
    pinned = low is not None and low == high
    return {"name": f"{drives}0", "drives": drives, **dict(zip(names, hertz, strict=True)), "pinned": pinned}


def measured(*clocks: dict[str, Any], gpu: bool = True) -> dict[str, Any]:
    found = bench()
    found["conditions"]["before"]["clocks"] = list(clocks)
    if not gpu:
        found["device"] = {"name": "a CPU", "machine": "x86_64", "compute_capability": None}
    return found


PINNED = clock("gpu", 1301, 1301, 1301)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (PINNED, clock("gpu", 612, 612, 612), "GPU clock: A 1301 MHz, B 612 MHz"),
        (PINNED, clock("gpu", 1270, 1270, 1270), "GPU clock: A 1301 MHz, B 1270 MHz"),  # 2.4 %
        (PINNED, clock("gpu", 1301, 306, 1301), "clocks pinned: A all, B not of GPU"),
        (clock("gpu", None, 1301, 1301), clock("gpu", None, 612, 612), "GPU clock: A 1301 MHz, B 612 MHz"),
        (clock("memory", None, None, None), clock("memory", None, None, 2133), "cap on the memory clock: A none, B 2133 MHz"),
        (clock("memory", 3199), clock("memory", 2133), "memory clock: A 3199 MHz, B 2133 MHz"),
    ],
)  # fmt: skip
def test_what_decides(a: dict[str, Any], b: dict[str, Any], expected: str) -> None:
    (found,) = clock_differences(measured(a), measured(b))
    assert str(found) == expected and found.decisive and found.speed
    (back,) = clock_differences(measured(b), measured(a))
    assert (back.a, back.b) == (found.b, found.a)
    assert clock_differences(measured(a), measured(a)) == []


def test_what_does_not() -> None:
    near = clock("gpu", 1290, 1290, 1290)  # 0.8 %
    assert clock_differences(measured(PINNED), measured(near)) == []
    # The memory's clock is readable by the superuser alone.
    assert clock_differences(measured(clock("memory", 3199)), measured(clock("memory", None))) == []
    # On a GPU the CPU's clock may differ, its pinning not: it launches the work.
    assert clock_differences(measured(clock("cpu", 2000, 2000, 2000)), measured(clock("cpu", 900, 900, 900))) == []
    assert clock_differences(bench(), bench(conditions={})) == []


def test_what_one_side_does_not_tell_is_a_difference() -> None:
    found = list(map(str, clock_differences(measured(PINNED), measured())))
    assert found == ["GPU clock: A 1301 MHz, B unknown", "clocks pinned: A all, B unknown"]
    (found,) = map(str, clock_differences(measured(clock("memory", None, None, 2133)), measured()))
    assert found == "cap on the memory clock: A 2133 MHz, B unknown"


def test_on_a_processor_its_own_limits_count() -> None:
    """Its clock never rests; that of an idle GPU means nothing."""
    a = measured(clock("cpu", 2000, 800, 2200), PINNED, gpu=False)
    b = measured(clock("cpu", 1400, 800, 2200), clock("gpu", 306, 306, 1301), gpu=False)
    assert clock_differences(a, b) == []
    b = measured(clock("cpu", 1400, 800, 1500), gpu=False)
    assert list(map(str, clock_differences(a, b))) == ["CPU clock at most: A 2200 MHz, B 1500 MHz"]


def test_names_of_clocks_mean_nothing() -> None:
    assert clock_differences(measured(PINNED), measured({**PINNED, "name": "17000000.ga10b"})) == []
