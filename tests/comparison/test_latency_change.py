"""The interval of a latency's change: it covers what it claims, sees what is there, and keeps quiet about nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexport.comparison.latency_change import latency_change


def series(random: np.random.Generator, count: int, level: float, memory: float) -> NDArray:
    """Latencies whose deviations decay by ``memory`` from run to run, about 1 % of spread."""
    noise = random.normal(0, 0.01 * np.sqrt(1 - memory**2), count)
    deviation = np.empty(count)
    deviation[0] = noise[0]
    for number in range(1, count):
        deviation[number] = memory * deviation[number - 1] + noise[number]
    return level * np.exp(deviation)


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_identical_sides_raise_few_alarms(memory: float) -> None:
    random = np.random.default_rng(3)
    verdicts = [
        latency_change(series(random, 200, 10.0, memory), series(random, 200, 10.0, memory), resamples=200)
        for _ in range(60)
    ]
    alarms = sum(change is not None and change.verdict != "no difference shown" for change in verdicts)
    assert alarms <= (7 if memory == 0 else 12)  # 5 % of 60 is 3; blocks are short for a long memory


def test_one_by_one_would_be_too_sure() -> None:
    """Of runs with a memory, the interval is wider than of the same values shuffled."""
    random = np.random.default_rng(5)
    a, b = series(random, 2000, 10.0, 0.8), series(random, 2000, 10.0, 0.8)
    kept = latency_change(a, b, resamples=300)
    shuffled = latency_change(random.permutation(a), random.permutation(b), resamples=300)
    assert kept is not None and shuffled is not None
    assert kept.high - kept.low > 1.5 * (shuffled.high - shuffled.low)


def test_three_per_cent_are_seen() -> None:
    random = np.random.default_rng(7)
    change = latency_change(series(random, 300, 10.0, 0.3), series(random, 300, 10.3, 0.3), resamples=300)
    assert change is not None
    assert change.verdict == "slower"
    assert change.low < 1.03 < change.high
    assert change.samples == (300, 300)
    back = latency_change(series(random, 300, 10.3, 0.3), series(random, 300, 10.0, 0.3), resamples=300)
    assert back is not None and back.verdict == "faster"


def test_same_input_same_interval() -> None:
    values = np.linspace(9, 11, 50)
    assert latency_change(values, values + 0.1) == latency_change(values, values + 0.1)


@pytest.mark.parametrize("values", [[], [1.0] * 9, [0.0] * 20, [-1.0] * 20, [float("nan")] * 20])
def test_too_few_or_no_times_give_nothing(values: list[float]) -> None:
    assert latency_change(values, [1.0] * 20) is None
    assert latency_change([1.0] * 20, values) is None
