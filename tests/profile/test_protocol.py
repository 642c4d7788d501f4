"""The protocol in simulated time: warm-up, duration, iterations, when conditions are looked at."""

from __future__ import annotations

import re

import pytest
from trace_cases import SimulatedDevice

from edgeexport.backends.runner import Timing
from edgeexport.errors import UsageError
from edgeexport.profile.protocol import TimingRequest, measure, percentiles_from_texts


def quiet_device() -> SimulatedDevice:
    return SimulatedDevice(0, jitter=0, wander=0, drift_per_s=0, outliers=0)


@pytest.mark.parametrize(
    ("warmup_ms", "duration_s", "iterations", "warmup_runs", "runs"),
    [
        (200, 3, 10, 20, 298),  # 9.9 + 0.1 ms each
        (0, 0, 10, 1, 10),  # at least one run of warm-up, and the iterations
        (200, 0.05, 50, 20, 50),
        (1, 1, 2, 1, 100),
    ],
)
def test_duration_and_iterations(
    warmup_ms: float, duration_s: float, iterations: int, warmup_runs: int, runs: int
) -> None:
    device = quiet_device()
    trace = measure(lambda: device.run(9.9), TimingRequest(warmup_ms, duration_s, iterations), device.clock)
    assert abs(trace.warmup_runs - warmup_runs) <= 1
    assert abs(len(trace.samples) - runs) <= 3
    assert len(trace.samples) >= iterations and trace.seconds >= duration_s


def test_every_sample_is_kept() -> None:
    times = [5.0] * 5 + [500.0] + [5.0] * 30  # warm-up, then an outlier
    made: list[float] = []
    now = [0.0]

    def call() -> Timing:
        ms = times[len(made)] if len(made) < len(times) else 5.0
        made.append(ms)
        now[0] += ms / 1000
        return Timing(ms, None, None, ms)

    trace = measure(call, TimingRequest(warmup_ms=25, duration_s=0.6, iterations=10), lambda: now[0])
    assert trace.warmup_runs == 5
    assert [sample.compute_ms for sample in trace.samples] == made[5:]
    assert max(sample.compute_ms for sample in trace.samples) == 500.0


def test_conditions_are_looked_at_after_the_warm_up_between_and_at_the_end() -> None:
    device = quiet_device()
    calls = [0]
    looked: list[int] = []

    def call() -> Timing:
        calls[0] += 1
        return device.run(9.9)

    def watch() -> None:
        looked.append(calls[0])
        device.now += 0.05  # takes time of its own

    trace = measure(call, TimingRequest(duration_s=3.5), device.clock, watch=watch, watch_every_s=1.0)
    assert looked[0] == trace.warmup_runs and looked[-1] == calls[0]
    assert len(looked) == 5  # first, after 1, 2 and 3 s, last
    assert all(sample.compute_ms == pytest.approx(9.9) for sample in trace.samples)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (TimingRequest(warmup_ms=-1), "--warm-up -1"),
        (TimingRequest(warmup_ms=float("nan")), "--warm-up nan"),
        (TimingRequest(duration_s=float("inf")), "--duration inf"),
        (TimingRequest(duration_s=1e300), "--duration 1e+300"),
        (TimingRequest(warmup_ms=float("nan")), "--warm-up nan"),
        (TimingRequest(iterations=10**22), "--iterations 1"),
        (TimingRequest(iterations=1), "--iterations 1"),
        (TimingRequest(percentiles=(0.0,)), "--percentile 0"),
        (TimingRequest(percentiles=(95, 101)), "--percentile 101"),
    ],
)
def test_senseless_requests(request_: TimingRequest, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        request_.check()


def test_percentiles_from_a_command_line() -> None:
    assert percentiles_from_texts(["95", "99.9,75"]) == (95.0, 99.9, 75.0)
    assert TimingRequest(percentiles=(95.0,)).as_dict()["percentiles"] == [50.0, 90.0, 95.0, 99.0]
    with pytest.raises(UsageError, match="'x' is no number"):
        percentiles_from_texts(["90,x"])
