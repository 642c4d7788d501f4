"""Summaries and the speed-up's interval."""

from __future__ import annotations

import math
import statistics
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeexport.profile.statistics import _student, speedup_interval, summary

TIMES = st.lists(st.floats(0.01, 1e4), min_size=2, max_size=60)


def test_summary_by_hand() -> None:
    found = summary([1.0, 2.0, 3.0, 4.0, 90.0], [95.0, 99.9])
    assert found == {
        "mean": 20.0,
        "p50": 3.0,
        "p90": pytest.approx(55.6),  # 4 + 0.6 * 86
        "p95": pytest.approx(72.8),
        "p99": pytest.approx(86.56),
        "p99.9": pytest.approx(89.656),
        "cv": pytest.approx(statistics.stdev([1, 2, 3, 4, 90]) / 20),
        "min": 1.0,
        "max": 90.0,
        "n": 5,
    }
    assert list(found) == ["mean", "p50", "p90", "p95", "p99", "p99.9", "cv", "min", "max", "n"]
    assert summary([7.0])["cv"] is None


@settings(deadline=None)
@given(TIMES)
def test_nothing_is_clipped(samples: list[float]) -> None:
    found = summary(samples)
    assert found["n"] == len(samples) and found["min"] == min(samples) and found["max"] == max(samples)
    assert found["mean"] == pytest.approx(sum(samples) / len(samples))
    assert found["min"] <= found["p50"] <= found["p90"] <= found["p99"] <= found["max"]  # type: ignore[operator]


def test_speedup_by_hand() -> None:
    found = speedup_interval([(3.0, 2.0), (6.0, 4.0), (4.5, 3.0)])
    assert (found.estimate, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))  # no spread
    assert found.verdict == "faster" and found.rounds == 3
    assert speedup_interval([(2.0, 3.0), (2.0, 3.0)]).verdict == "slower"
    assert speedup_interval([(2.0, 2.0), (2.0, 2.0)]).verdict == "no difference shown"
    assert speedup_interval([(1.0, 2.0), (2.0, 1.0)]).estimate == pytest.approx(1.0)


@settings(deadline=None)
@example(
    [
        (99.0, 81.06577745942629),
        (2.00001, 99.0),
        (85.56165331275722, 70.21331970312687),
        *[(99.0, 85.96599030086999)] * 2,
    ]
)
@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=5, max_size=30))
def test_speedup_turns_round_with_its_sides(pairs: list[tuple[float, float]]) -> None:
    one = speedup_interval(pairs, resamples=200)
    other = speedup_interval([(b, a) for a, b in pairs], resamples=200)
    assert one.estimate == pytest.approx(1 / other.estimate)
    assert one.low <= one.high and math.isfinite(one.low) and math.isfinite(one.high)
    ratios = [a / b for a, b in pairs]
    assert min(ratios) * (1 - 1e-9) <= one.low and one.high <= max(ratios) * (1 + 1e-9)
    scaled = speedup_interval([(a * 1000, b * 1000) for a, b in pairs], resamples=200)
    assert (scaled.low, scaled.high) == pytest.approx((one.low, one.high))


@pytest.mark.parametrize("rounds", [16, 60])
def test_interval_covers_the_truth(rounds: int) -> None:
    """Of normal log ratios, whose mean is known; the 99 % interval misses it in about 1 % of draws."""
    missed = 0
    for seed in range(400):
        ratios = np.random.default_rng(seed).normal(math.log(1.2), 0.05, rounds)
        found = speedup_interval([(math.exp(ratio), 1.0) for ratio in ratios], resamples=4000)
        missed += not found.low <= 1.2 <= found.high
    assert missed <= 16  # 4 %; more than 13 of 400 at 1 % happen once in 10 000


@pytest.mark.parametrize(("freedom", "expected"), [(7, 3.4995), (15, 2.9467), (30, 2.7500), (1000, 2.5808)])
def test_student_quantile(freedom: int, expected: float) -> None:
    """Against tables of the 99.5 % quantile."""
    assert _student(NormalDist().inv_cdf(0.995), freedom) == pytest.approx(expected, rel=0.002)


def test_interval_narrows_with_confidence_and_rounds() -> None:
    ratios = np.random.default_rng(3).normal(0, 0.05, 80)
    pairs = [(math.exp(ratio), 1.0) for ratio in ratios]
    wide, narrow = speedup_interval(pairs), speedup_interval(pairs, confidence=0.8)
    assert wide.high - wide.low > narrow.high - narrow.low
    few = speedup_interval(pairs[:10])
    assert few.high - few.low > wide.high - wide.low
    assert speedup_interval(pairs) == wide  # seeded
