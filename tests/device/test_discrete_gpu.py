"""What nvidia-smi tells of a PC's GPU. Its answers are written from its documentation, not recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeexport.device import conditions
from edgeexport.device.conditions import changed, read_conditions
from edgeexport.device.discrete_gpu import read_discrete_gpu


def test_clocks_temperature_and_reasons() -> None:
    found = read_discrete_gpu(lambda: "1980, 2619, 41, 0x0000000000000000\n1200, 2619, 30, 0x1\n")
    assert found is not None
    assert [(clock.name, clock.current_hz) for clock in found.clocks] == [
        ("sm", 1_980_000_000),
        ("gpu memory", 2_619_000_000),
    ]
    assert found.temperatures[0].celsius == 41 and found.slowdowns == ()


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ("0x0000000000000001", ()),  # idle
        ("0x0000000000000004", ()),  # power cap
        ("0x0000000000000048", ("hardware slowdown", "hardware thermal slowdown")),
        ("[N/A]", ()),
    ],
)
def test_reasons(reasons: str, expected: tuple[str, ...]) -> None:
    found = read_discrete_gpu(lambda: f"[N/A], 2619, [N/A], {reasons}")
    assert found is not None and found.slowdowns == expected
    assert len(found.clocks) == 1 and found.temperatures == ()


@pytest.mark.parametrize("answer", [None, "", "No devices were found\n"])
def test_no_gpu(answer: str | None) -> None:
    assert read_discrete_gpu(lambda: answer) is None


def test_a_slowed_gpu_is_an_instability(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["1980, 2619, 41, 0x0", "1965, 2619, 50, 0x0", "1600, 2619, 80, 0x40"]
    monkeypatch.setattr(conditions, "read_discrete_gpu", lambda: read_discrete_gpu(lambda: answers.pop(0)))
    monkeypatch.setattr(conditions, "read_clocks", lambda root: ())
    monkeypatch.setattr(conditions, "read_temperatures", lambda root: ())
    first, second, third = (read_conditions(Path("/")) for _ in range(3))
    assert changed(first, second) == []
    assert changed(first, third) == [
        "throttled: hardware thermal slowdown is at work (state 1)",
        "gpu clock sm 1980 became 1600 MHz",
        "gpu warmed from 41.0 to 80.0 °C, more than 15 K",
    ]
    assert read_conditions(Path("/"), discrete_gpu=False).clocks == ()
