"""How a latency is measured: warm up, then one inference after the other until both time and count are reached."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeexport.backends.runner import Timing
from edgeexport.errors import UsageError

__all__ = ["PERCENTILES", "TimingRequest", "Trace", "Watch", "measure", "percentiles_from_texts", "warm_up"]

PERCENTILES = (50.0, 90.0, 99.0)
"""Reported always."""

WATCH_EVERY_S = 1.0

_LONGEST_S = 86_400
_MOST_ITERATIONS = 10_000_000  # every sample is kept

Call = Callable[[], Timing]
Clock = Callable[[], float]
Watch = Callable[[], None]
"""Called between inferences, before the first and after the last: looks at the device's conditions."""


@dataclass(frozen=True)
class TimingRequest:
    """What to measure. Names and defaults are trtexec's.

    Attributes:
        warmup_ms: Inferences before the measurement, at least one, until this time has passed.
        duration_s: The measurement takes at least this long.
        iterations: And at least so many inferences.
        percentiles: Beside `PERCENTILES`; in 0..100, 0 excluded.
        pairs: Paired blocks of a comparison with a baseline, at least; see `edgeexport.profile.pairing`.
    """

    warmup_ms: float = 200.0
    duration_s: float = 3.0
    iterations: int = 10
    percentiles: tuple[float, ...] = ()
    pairs: int = 32

    def check(self) -> TimingRequest:
        """Returns itself.

        Raises:
            UsageError: A value that makes no sense.
        """
        for option, value, limit, unit in (
            ("--warm-up", self.warmup_ms, 1000 * _LONGEST_S, "milliseconds"),
            ("--duration", self.duration_s, _LONGEST_S, "seconds"),
        ):
            if not 0 <= value <= limit:  # not-a-number as well
                expected = f"expected {unit}, 0 to {limit:.0f} (a day)"
                raise UsageError(f"{option} {value:g}", expected, "such as --warm-up 200 --duration 3")
        if not 2 <= self.iterations <= _MOST_ITERATIONS:
            problem = f"expected 2 to {_MOST_ITERATIONS}: one run tells nothing about its spread"
            raise UsageError(f"--iterations {self.iterations}", problem, "10 is usual")
        for percentile in self.percentiles:
            if not 0 < percentile <= 100:
                raise UsageError(f"--percentile {percentile:g}", "expected a number above 0, up to 100", "such as 95")
        return self

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "percentiles": sorted({*PERCENTILES, *self.percentiles})}


def percentiles_from_texts(texts: Sequence[str]) -> tuple[float, ...]:
    """From a command line: each text one number, or several with commas, as trtexec takes them.

    Raises:
        UsageError: No number.
    """
    percentiles = []
    for text in texts:
        for part in text.split(","):
            try:
                percentiles.append(float(part))
            except ValueError:
                raise UsageError(
                    f"--percentile {text}", f"{part!r} is no number", "such as --percentile 95,99.9"
                ) from None
    return tuple(percentiles)


@dataclass(frozen=True)
class Trace:
    """What was measured, in the order of time; no sample is left out.

    Attributes:
        samples: The inferences.
        warmup_runs: Inferences before them, not among the samples.
        seconds: From the first one's begin to the last one's end.
    """

    samples: tuple[Timing, ...]
    warmup_runs: int
    seconds: float


def measure(
    call: Call,
    request: TimingRequest,
    clock: Clock = time.perf_counter,
    *,
    watch: Watch = lambda: None,
    watch_every_s: float = WATCH_EVERY_S,
) -> Trace:
    """Measures one runner.

    Args:
        call: One inference; its own clock gives the sample.
        request: See `TimingRequest`.
        clock: Seconds, for duration and warm-up.
        watch: Called right after the warm-up, about every ``watch_every_s``, and at the end. Its time is in no sample.
        watch_every_s: See above.
    """
    warmup_runs, _ = warm_up(call, request.warmup_ms, clock)
    watch()
    samples: list[Timing] = []
    begin = end = watched = clock()
    while end - begin < request.duration_s or len(samples) < request.iterations:
        samples.append(call())
        end = clock()
        if end - watched >= watch_every_s:
            watch()
            watched = clock()
    watch()
    return Trace(tuple(samples), warmup_runs, end - begin)


def warm_up(call: Call, warmup_ms: float, clock: Clock) -> tuple[int, float]:
    """Runs at least once and until ``warmup_ms`` have passed.

    Returns:
        The number of runs, and the shortest one's wall time in seconds.
    """
    begin = clock()
    runs, shortest = 0, math.inf
    while True:
        before = clock()
        call()
        now = clock()
        runs, shortest = runs + 1, min(shortest, now - before)
        if now - begin >= warmup_ms / 1000:
            return runs, shortest
