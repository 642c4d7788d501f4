"""Energy of an inference: the power of the device over half a minute of inferences, and of rest before it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeexport.backends.runner import Timing
from edgeexport.device.power import Rails
from edgeexport.device.power_sampler import SLOWEST_HZ, PowerSample, sampled
from edgeexport.errors import MeasurementError
from edgeexport.profile.protocol import Watch

__all__ = ["Energy", "EnergyRequest", "energy_from_samples", "measure_energy", "settling_s"]

_LEAST_SETTLING_S, _MOST_SETTLING_S, _AVERAGES = 1.0, 10.0, 3


@dataclass(frozen=True)
class EnergyRequest:
    """How long to rest and to work, in seconds. NVIDIA's sensors average, and the device warms: 30 s of work at least."""

    idle_s: float = 10.0
    load_s: float = 30.0


@dataclass(frozen=True)
class Energy:
    """What inferences cost.

    Attributes:
        inferences, seconds: Of the work, one inference after the other.
        gross_mj, net_mj: Energy of an inference in millijoules: of all that the device drew, and of what it drew more than
            at rest in the same time.
        load_w, idle_w: Mean power of the whole at work and at rest, in watts.
        rails: Rail -> {'load_w', 'idle_w'}, those that are part of others included.
        total: Rails that add up to the whole; ``covers`` says what that is.
        rate_hz, longest_gap_s: Of the samples at work.
        sensor_average_ms: Time over which the sensors average; None where they do not tell.
        settling_s: Waited after each change between rest and work before samples counted.
    """

    inferences: int
    seconds: float
    gross_mj: float
    net_mj: float
    load_w: float
    idle_w: float
    rails: dict[str, dict[str, float]]
    total: tuple[str, ...]
    covers: str
    rate_hz: float
    longest_gap_s: float
    sensor_average_ms: int | None
    settling_s: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def measure_energy(
    call: Callable[[], Timing],
    rails: Rails,
    request: EnergyRequest,
    clock: Callable[[], float] = time.perf_counter,
    *,
    sleep: Callable[[float], None] = time.sleep,
    watch: Watch = lambda: None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> tuple[Energy, list[tuple[str, list[PowerSample]]]]:
    """Rests, then works, and samples the rails meanwhile.

    Args:
        call: One inference.
        rails: What to sample.
        request: How long.
        clock, sleep: In seconds; the same clock times work and samples.
        watch: Called at the beginning and at the end of the work.
        on_stage: Called with each stage's name.

    Returns:
        The energy, and the samples of the phases 'idle' and 'load'.

    Raises:
        MeasurementError: The sensors could not be read, or not often enough.
    """
    settle = settling_s(rails)
    on_stage(f"power at rest, {settle + request.idle_s:.0f} s")
    sleep(settle)
    with sampled(rails, clock=clock) as idle:
        sleep(request.idle_s)
    on_stage(f"power at work, {settle + request.load_s:.0f} s")
    begin = clock()
    while clock() - begin < settle:
        call()
    watch()
    inferences = 0
    with sampled(rails, clock=clock) as load:
        begin = end = clock()
        while end - begin < request.load_s or not inferences:
            call()
            inferences, end = inferences + 1, clock()
    watch()
    energy = energy_from_samples(rails, idle, load, begin=begin, end=end, inferences=inferences)
    return energy, [("idle", idle), ("load", load)]


def settling_s(rails: Rails) -> float:
    """Seconds until the sensors' averages no longer contain what was before."""
    average = (rails.update_interval_ms or 0) / 1000
    return min(max(_LEAST_SETTLING_S, _AVERAGES * average), _MOST_SETTLING_S)


def energy_from_samples(
    rails: Rails,
    idle: Sequence[PowerSample],
    load: Sequence[PowerSample],
    *,
    begin: float,
    end: float,
    inferences: int,
) -> Energy:
    """Integrates the samples.

    Args:
        rails: Where they come from.
        idle, load: Samples at rest and at work.
        begin, end: Of the work, on the samples' clock.
        inferences: Made between them.

    Raises:
        MeasurementError: Fewer samples than `SLOWEST_HZ` asks for.
    """
    rate = min(_rate_hz(idle), _rate_hz(load))
    if rate < SLOWEST_HZ:
        raise MeasurementError(
            "--power",
            f"the rails were read {rate:.1f} times a second, expected at least {SLOWEST_HZ:.0f}",
            "stop what else uses the processor or the sensors (tegrastats, jtop), or leave out --power",
        )
    seconds = end - begin
    idle_w = float(np.mean([sample.total_watts for sample in idle]))
    joules = _joules(load, [sample.total_watts for sample in load], begin, end)
    per_rail = {
        rail.name: {
            "load_w": _joules(load, [sample.watts[rail.name] for sample in load], begin, end) / seconds,
            "idle_w": float(np.mean([sample.watts[rail.name] for sample in idle])),
        }
        for rail in rails.rails
    }
    return Energy(
        inferences=inferences,
        seconds=seconds,
        gross_mj=1e3 * joules / inferences,
        net_mj=1e3 * (joules - idle_w * seconds) / inferences,
        load_w=joules / seconds,
        idle_w=idle_w,
        rails=per_rail,
        total=rails.total,
        covers=rails.covers,
        rate_hz=_rate_hz(load),
        longest_gap_s=max((b.seconds - a.seconds for a, b in itertools.pairwise(load)), default=0.0),
        sensor_average_ms=rails.update_interval_ms,
        settling_s=settling_s(rails),
    )


def _rate_hz(samples: Sequence[PowerSample]) -> float:
    if len(samples) < 2:
        return 0.0
    return (len(samples) - 1) / (samples[-1].seconds - samples[0].seconds)


def _joules(samples: Sequence[PowerSample], watts: Sequence[float], begin: float, end: float) -> float:
    """Trapezoids between the samples; the power at ``begin`` and ``end`` is interpolated, beyond the samples it is held."""
    times = np.array([sample.seconds for sample in samples])
    inside = times[(times > begin) & (times < end)]
    knots = np.concatenate([[begin], inside, [end]])
    power = np.interp(knots, times, np.asarray(watts))
    return float(np.sum((power[1:] + power[:-1]) / 2 * np.diff(knots)))
