"""Lasting changes of a latency, on simulated devices."""

from __future__ import annotations

import pytest
from trace_cases import SimulatedDevice

from edgeexport.profile.protocol import TimingRequest, measure
from edgeexport.profile.stability import latency_shift

SEEDS = 200


def latencies(device: SimulatedDevice, base_ms: float = 10.0, duration_s: float = 3.0) -> list[float]:
    trace = measure(lambda: device.run(base_ms), TimingRequest(duration_s=duration_s), device.clock)
    return [sample.compute_ms for sample in trace.samples]


@pytest.mark.parametrize("base_ms", [10.0, 100.0])
def test_an_undisturbed_device_is_not_refused(base_ms: float) -> None:
    found = [latency_shift(latencies(SimulatedDevice(seed), base_ms, 2.5)) for seed in range(SEEDS)]
    assert sum(item is not None for item in found) <= 0.02 * SEEDS


@pytest.mark.parametrize("after_s", [1.0, 1.7, 2.6])
def test_a_throttled_device_is_refused(after_s: float) -> None:
    for seed in range(40):
        device = SimulatedDevice(seed)
        device.slowed_from_s, device.slowed_by = after_s, 1.3
        found = latency_shift(latencies(device))
        assert found is not None
        assert found.after_ms / found.before_ms == pytest.approx(1.3, rel=0.08)
    assert "rose for good by" in str(found)


def test_a_device_that_recovers_is_told_as_well() -> None:
    samples = latencies(SimulatedDevice(7))
    found = latency_shift([1.4 * value if place < 120 else value for place, value in enumerate(samples)])
    assert found is not None and found.place == pytest.approx(120 / len(samples), abs=0.06)
    assert found.after_ms / found.before_ms == pytest.approx(1 / 1.4, rel=0.06)
    assert "fell for good by" in str(found)


def test_outliers_are_no_shift() -> None:
    samples = [10.0] * 300
    samples[250::7] = [80.0] * len(samples[250::7])
    assert latency_shift(samples) is None


def test_small_or_short() -> None:
    assert latency_shift([10.0] * 100 + [10.9] * 100) is None  # left to the coefficient of variation
    assert latency_shift([10.0] * 100 + [11.2] * 100) is not None
    assert latency_shift([10.0] * 8 + [30.0] * 9) is None  # seventeen runs
    assert latency_shift([10.0] * 9 + [30.0] * 9) is not None
    assert latency_shift([0.0] * 40) is None


def test_a_noisy_device_is_not_refused() -> None:
    """Thirty runs that vary by 15 %: the medians of their halves often lie 10 % apart, by chance."""
    devices = (SimulatedDevice(seed, jitter=0.15, wander=0.0) for seed in range(SEEDS))
    found = [latency_shift(latencies(device, 100.0)) for device in devices]
    assert sum(item is not None for item in found) <= 0.02 * SEEDS
