"""Samples power rails in a thread of its own, while the device works or rests."""

from __future__ import annotations

import contextlib
import csv
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgeexport.device.power import Rails
from edgeexport.errors import MeasurementError

__all__ = ["SLOWEST_HZ", "PowerSample", "power_csv", "sampled"]

SLOWEST_HZ = 10.0
"""The least rate at which a measurement counts."""

_PERIOD_S = 0.05


@dataclass(frozen=True)
class PowerSample:
    """All rails at one moment.

    Attributes:
        seconds: On the clock of the measurement, in the middle of the reading: it takes milliseconds.
        watts: Rail -> power.
        total_watts: Of the whole.
    """

    seconds: float
    watts: dict[str, float]
    total_watts: float


@contextlib.contextmanager
def sampled(
    rails: Rails, *, period_s: float = _PERIOD_S, clock: Callable[[], float] = time.perf_counter
) -> Iterator[list[PowerSample]]:
    """Samples while the block runs, from its beginning to its end; the list is complete when the block has ended.

    Args:
        rails: What to read.
        period_s: From one reading's start to the next; a reading that takes longer delays the next.
        clock: In seconds, the one that times the work.

    Raises:
        MeasurementError: A sensor could not be read; raised when the block ends.
    """
    samples: list[PowerSample] = []
    failures: list[MeasurementError] = []
    stop = threading.Event()

    def read() -> None:
        before = clock()
        watts = rails.watts()
        samples.append(PowerSample((before + clock()) / 2, watts, rails.total_watts(watts)))

    def loop() -> None:
        due = time.perf_counter()
        try:
            while not stop.is_set():
                read()
                due = max(due + period_s, time.perf_counter())
                stop.wait(due - time.perf_counter())
            read()
        except MeasurementError as error:
            failures.append(error)

    thread = threading.Thread(target=loop, name="power", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def power_csv(rails: Rails, phases: Sequence[tuple[str, Sequence[PowerSample]]]) -> str:
    """Every sample as CSV: seconds since the first, the phase ('idle', 'load'), watts of each rail and of the whole."""
    names = [rail.name for rail in rails.rails]
    begin = min((sample.seconds for _, samples in phases for sample in samples), default=0.0)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["seconds", "phase", *(f"{name}_w" for name in names), "total_w"])
    for phase, samples in phases:
        for sample in samples:
            watts = [f"{sample.watts[name]:.6f}" for name in names]
            writer.writerow([f"{sample.seconds - begin:.6f}", phase, *watts, f"{sample.total_watts:.6f}"])
    return text.getvalue()
