"""Paired timing: all candidates take turns in one process, and ratios are formed within a round.

ONNX Runtime sessions share one pool of two threads; two pools of their own would spin against each other on two cores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import onnxruntime

from edgeexport.device import plain_session

__all__ = ["THREADS", "latencies_ms", "ratio_summary", "session_options", "share_one_pool"]

THREADS = 2


def share_one_pool() -> None:
    """Makes the process-wide thread pool that sessions with `session_options` use; once per process."""
    plain_session.share_one_pool(THREADS)


def session_options() -> onnxruntime.SessionOptions:
    """Options of a session in the shared pool."""
    share_one_pool()
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = False
    options.log_severity_level = 3
    return options


def latencies_ms(
    candidates: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2, repeats: int = 1
) -> dict[str, list[float]]:
    """Runs every candidate once per round, in an order that rotates; returns milliseconds per round.

    Args:
        candidates: Name -> what to time.
        rounds: Counted rounds.
        warmup: Rounds that are not counted.
        repeats: Runs of a candidate in a row per round, for runtimes with thread pools of their own: the first run after
            a change of runtime is not counted, and the round's value is the median of the others. 1 counts the only run.
    """
    names = list(candidates)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warmup + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                candidates[name]()
                times.append((time.perf_counter() - start) * 1e3)
            if number >= warmup:
                found[name].append(times[0] if repeats == 1 else statistics.median(times[1:]))
    return found


def ratio_summary(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """Median and quartiles of the ratios within rounds."""
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"median": round(middle, 3), "q1": round(low, 3), "q3": round(high, 3)}
