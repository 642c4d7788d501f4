"""Energy from samples by hand, and from sampling a device that draws more while it works."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeexport.backends.runner import Timing
from edgeexport.device.power import Rail, Rails
from edgeexport.device.power_sampler import PowerSample
from edgeexport.errors import MeasurementError
from edgeexport.profile.energy import EnergyRequest, energy_from_samples, measure_energy, settling_s


def rail(name: str, update_interval_ms: int | None = None) -> Rail:
    return Rail(name, (Path("nowhere"),), 512, update_interval_ms)


AGX = Rails((rail("GPU"), rail("CPU"), rail("DDR")), ("GPU", "CPU"), "a module")


def samples(times: list[float], gpu_w: list[float]) -> list[PowerSample]:
    """CPU draws 2 W; DDR, a part of CPU, 1 W."""
    return [PowerSample(t, {"GPU": w, "CPU": 2.0, "DDR": 1.0}, w + 2.0) for t, w in zip(times, gpu_w, strict=True)]


def grid(begin: float, end: float, step: float = 0.05) -> list[float]:
    return [begin + step * number for number in range(round((end - begin) / step) + 1)]


def test_energy_by_hand() -> None:
    idle = samples(grid(0, 10), [3.0] * len(grid(0, 10)))
    load = samples(grid(20, 50), [18.0] * len(grid(20, 50)))
    found = energy_from_samples(AGX, idle, load, begin=20.0, end=50.0, inferences=3000)
    assert found.idle_w == pytest.approx(5.0) and found.load_w == pytest.approx(20.0)
    assert found.gross_mj == pytest.approx(200.0)  # 600 J over 3000
    assert found.net_mj == pytest.approx(150.0)
    assert found.rails["DDR"] == {"load_w": pytest.approx(1.0), "idle_w": pytest.approx(1.0)}
    assert found.rails["GPU"]["load_w"] == pytest.approx(18.0)
    assert found.rate_hz == pytest.approx(20) and found.longest_gap_s == pytest.approx(0.05)


def test_power_between_samples_and_at_the_ends() -> None:
    """A ramp of 10 W a second from 0 at t = 0: between 0.512 and 1.537 s that is 10.50 J, and 2 W of CPU beside it."""
    times = grid(0, 2, 0.04)
    load = samples(times, [10 * t for t in times])
    found = energy_from_samples(AGX, samples(grid(-1, 0), [0.0] * 21), load, begin=0.512, end=1.537, inferences=1)
    assert found.gross_mj == pytest.approx(1000 * (5 * (1.537**2 - 0.512**2) + 2 * 1.025))
    assert found.net_mj == pytest.approx(1000 * 5 * (1.537**2 - 0.512**2))


def test_uneven_samples_weigh_by_their_time() -> None:
    """Many samples of a short peak do not count more than few of a long plateau."""
    times = [0.0, 0.05, 0.1, *(0.1 + 0.001 * n for n in range(1, 100)), 0.2, *grid(0.25, 1.0)]
    power = [10.0 if 0.1 < t < 0.2 else 0.0 for t in times]
    found = energy_from_samples(
        AGX, samples(grid(-1, 0), [0.0] * 21), samples(times, power), begin=0, end=1, inferences=1
    )
    assert found.net_mj == pytest.approx(1000, rel=0.02)


def test_too_few_samples_are_refused() -> None:
    dense, sparse = grid(0, 10, 0.05), grid(0, 10, 0.125)
    good, bad = samples(dense, [3.0] * len(dense)), samples(sparse, [3.0] * len(sparse))
    for idle, load in ((good, bad), (bad, good), (good, []), (good[:1], good)):
        with pytest.raises(MeasurementError, match=r"times a second, expected at least 10") as error:
            energy_from_samples(AGX, idle, load, begin=0, end=10, inferences=100)
        assert error.value.exit_code == 6


@pytest.mark.parametrize(("interval_ms", "expected"), [(None, 1.0), (100, 1.0), (430, 1.29), (9000, 10.0)])
def test_settling(interval_ms: int | None, expected: float) -> None:
    assert settling_s(Rails((rail("a"), rail("b", interval_ms)), ("a",), "")) == pytest.approx(expected)


@dataclass(frozen=True)
class Device(Rails):
    """Draws 3 W at rest and 13 W while a call is under way; rails and calls share nothing but this."""

    working: list[bool] = field(default_factory=lambda: [False])

    def watts(self) -> dict[str, float]:
        return {"VDD_IN": 13.0 if self.working[0] else 3.0}

    def call(self) -> Timing:
        self.working[0] = True
        time.sleep(0.004)
        return Timing(4.0, None, None, 4.0)

    def sleep(self, seconds: float) -> None:
        self.working[0] = False
        time.sleep(seconds)


def test_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeexport.profile.energy._LEAST_SETTLING_S", 0.05)
    monkeypatch.setattr("edgeexport.profile.energy.SLOWEST_HZ", 0.0)  # a busy machine may not get to the thread
    device = Device((rail("VDD_IN"),), ("VDD_IN",), "a module")
    stages: list[str] = []
    watched: list[bool] = []
    found, phases = measure_energy(
        device.call,
        device,
        EnergyRequest(idle_s=0.2, load_s=0.3),
        sleep=device.sleep,
        watch=lambda: watched.append(device.working[0]),
        on_stage=stages.append,
    )
    assert found.idle_w == pytest.approx(3.0) and found.load_w == pytest.approx(13.0)
    assert found.seconds >= 0.3 and found.inferences >= 1
    assert found.gross_mj == pytest.approx(1000 * 13 * found.seconds / found.inferences)
    assert found.net_mj == pytest.approx(found.gross_mj * 10 / 13)
    assert [name for name, _ in phases] == ["idle", "load"] and len(stages) == 2
    assert watched == [True, True]  # both at work
