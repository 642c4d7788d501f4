"""Paired blocks: their order, and what they find on simulated devices."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from trace_cases import SimulatedDevice

from edgeexport.backends.runner import Timing
from edgeexport.profile.pairing import PairedTrace, measure_pair
from edgeexport.profile.protocol import TimingRequest
from edgeexport.profile.statistics import Speedup, speedup_interval

SEEDS = 200
QUICK = TimingRequest(duration_s=0.5)


def paired(device: SimulatedDevice, base_ms: float, factor: float, request: TimingRequest = QUICK) -> PairedTrace:
    return measure_pair(
        lambda: device.run(base_ms), lambda: device.run(base_ms * factor), request, device.clock, seed=device.seed
    )


def speedup(trace: PairedTrace) -> Speedup:
    return speedup_interval([item.compute_ms() for item in trace.rounds], resamples=1000)


def test_order_of_blocks() -> None:
    order: list[str] = []
    device = SimulatedDevice(1)

    def runner(name: str) -> Callable[[], Timing]:
        def call() -> Timing:
            order.append(name)
            return device.run(5.0)

        return call

    trace = measure_pair(runner("b"), runner("c"), TimingRequest(duration_s=2), device.clock)
    warm_up = sum(trace.warmup_runs)
    blocks = [(name, len(list(runs))) for name, runs in itertools.groupby(order[warm_up:])]
    block = trace.lead_in + trace.runs_per_block
    assert trace.lead_in == 1 and trace.runs_per_block == 4  # 20 ms of 5 ms
    rounds = [order[start : start + 4 * block : block] for start in range(warm_up, len(order), 4 * block)]
    assert len(rounds) == len(trace.rounds)
    for names, item in zip(rounds, trace.rounds, strict=True):
        assert names == (["b", "c", "c", "b"] if item.baseline_first else ["c", "b", "b", "c"])
        assert all(len(one) == trace.runs_per_block for one in (*item.baseline, *item.candidate))
    assert {item.baseline_first for item in trace.rounds} == {True, False}
    assert sum(count for _, count in blocks) == len(order) - warm_up
    assert trace.seconds >= 4.0  # two runners, two seconds each


@pytest.mark.parametrize(("base_ms", "runs", "lead_in"), [(0.1, 64, 15), (2.0, 10, 2), (100.0, 3, 1)])
def test_blocks_fit_the_latency(base_ms: float, runs: int, lead_in: int) -> None:
    device = SimulatedDevice(2, jitter=0, wander=0, drift_per_s=0, outliers=0)
    trace = paired(device, base_ms, 1.0, TimingRequest(duration_s=0.2, pairs=7, iterations=2))
    assert abs(trace.runs_per_block - runs) <= 1 and abs(trace.lead_in - lead_in) <= 1
    assert len(trace.rounds) >= 4  # seven pairs, rounded up to whole rounds


def test_iterations_are_reached() -> None:
    device = SimulatedDevice(3)
    trace = paired(device, 50.0, 1.0, TimingRequest(duration_s=0, iterations=301, pairs=2))
    assert len(trace.samples("baseline")) >= 301 and len(trace.samples("candidate")) >= 301


def test_steady_drift_cancels() -> None:
    """A device that slows by 2 % a second, with no other noise: blocks that follow each other would show 0.1 to 1 %."""
    device = SimulatedDevice(4, jitter=0, wander=0, drift_per_s=0.02, outliers=0)
    trace = paired(device, 10.0, 1.25, TimingRequest(duration_s=3))
    assert speedup(trace).estimate == pytest.approx(0.8, rel=1e-4)


@pytest.mark.parametrize("base_ms", [2.0, 40.0])
def test_identical_runners_raise_no_false_alarm(base_ms: float) -> None:
    alarms = sum(
        speedup(paired(SimulatedDevice(seed), base_ms, 1.0)).verdict != "no difference shown" for seed in range(SEEDS)
    )
    assert alarms <= 0.05 * SEEDS


@pytest.mark.parametrize("base_ms", [2.0, 40.0])
def test_a_slowdown_of_three_per_cent_is_found(base_ms: float) -> None:
    found = [speedup(paired(SimulatedDevice(seed), base_ms, 1.03)) for seed in range(60)]
    assert sum(item.verdict == "slower" for item in found) >= 0.95 * len(found)
    assert sum(item.low <= 1 / 1.03 <= item.high for item in found) >= 0.95 * len(found)
    assert not any(item.verdict == "faster" for item in found)
