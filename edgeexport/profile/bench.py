"""`edgeexport profile`: times a bundle's engine on this machine, and writes bench.json, unless the device changed meanwhile."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.bundle import json_bytes
from edgeexport.bundle.files import disk_errors, replaced_file, write_file
from edgeexport.device.conditions import Conditions, instabilities, read_conditions
from edgeexport.device.power import Rails, find_rails
from edgeexport.device.power_sampler import PowerSample, power_csv
from edgeexport.errors import BuildError, MeasurementError
from edgeexport.profile.bench_document import bench_document, paired_document, rows_from_samples
from edgeexport.profile.beside import measured_layers, predicted_latency, why_no_prediction
from edgeexport.profile.earlier_bench import BENCH, POWER_CSV, keep_fuller
from edgeexport.profile.energy import EnergyRequest, measure_energy
from edgeexport.profile.pairing import measure_pair
from edgeexport.profile.protocol import TimingRequest, measure
from edgeexport.profile.stability import latency_shift
from edgeexport.profile.timed_bundle import TimedBundle, check_comparable, load_timed_bundle

__all__ = ["BENCH", "POWER_CSV", "Bench", "profile_bundle"]

_SECONDS_BETWEEN_STAGES = 5.0
_UNWRITABLE = "make the bundle folder writable, or copy the bundle to where it is"

Phases = list[tuple[str, list[PowerSample]]]


@dataclass(frozen=True)
class Bench:
    """A finished measurement: where it was written, and bench.json's content."""

    path: Path
    document: dict[str, Any]


@dataclass(frozen=True)
class _Setup:
    """Where and how it is measured; tests put a simulated device here."""

    root: Path
    allow_unstable: bool
    clock: Callable[[], float]
    sleep: Callable[[float], None]


def profile_bundle(
    path: Path,
    request: TimingRequest | None = None,
    *,
    baseline: Path | None = None,
    power: bool = False,
    allow_unstable: bool = False,
    engine: str = "auto",
    energy: EnergyRequest | None = None,
    root: Path = Path("/"),
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Bench:
    """Times a bundle's engine, alone first; then against a baseline and with power, where asked.

    Args:
        path: The bundle; bench.json (and power.csv) are written into it.
        request: Warm-up, duration and so on; None takes trtexec's defaults.
        baseline: Bundle to compare with, in alternating blocks.
        power: Measure energy as well, in a run of its own after the timing.
        allow_unstable: Keep the figures of a run during which the device changed, marked as such.
        engine: 'auto' or 'none' (model.onnx in ONNX Runtime).
        energy: How long power is measured; None takes 10 s of rest and 30 s of work, or the request's duration if longer.
        root: Where /sys, /proc, /var and /etc are.
        clock, sleep: In seconds.
        on_stage: Called with each stage's name as it starts.

    Raises:
        MeasurementError: The device changed during the measurement, or its power cannot be measured (exit code 6); nothing
            is written.
        BundleError, UsageError, BuildError: The bundles, their engines or the request do not fit.
    """
    asked = (request or TimingRequest()).check()
    _check_writable(path)
    rails = find_rails(root) if power else None
    setup = _Setup(root, allow_unstable, clock, sleep)
    on_stage("load the engine")
    timed = load_timed_bundle(path, engine)
    against = None if baseline is None else load_timed_bundle(baseline, engine)
    if against is not None:
        check_comparable(against, timed)
    unstable: list[str] = []

    on_stage(f"time {timed.file}: {asked.warmup_ms:g} ms of warm-up, {asked.duration_s:g} s")
    readings: list[Conditions] = []
    with _judged(timed, setup, readings, unstable, "") as watch:
        trace = measure(timed.call, asked, clock, watch=watch)
        _judge_latency(unstable, "", [sample.compute_ms for sample in trace.samples])
    graphs = {one.bundle.part: _graph_rows(one, asked, setup, on_stage) for one in timed.others}
    compared = None if against is None else _compared(against, timed, asked, setup, unstable, on_stage)
    energy_request = energy or EnergyRequest(load_s=max(EnergyRequest.load_s, asked.duration_s))
    phases: Phases = []
    document = bench_document(timed, asked, trace, readings, root)
    if rails is not None:
        document["power"], phases = _energy(timed, rails, energy_request, setup, unstable, on_stage)
    document["baseline"] = compared
    if graphs:
        document["graphs"] = graphs
    document["predicted"] = predicted_latency(timed, readings[0].power_mode, root)
    document["no_prediction"] = why_no_prediction(timed, readings[0].power_mode, root)
    on_stage("time the layers with the runtime's profiler")
    document["layers"] = measured_layers(timed)
    document["stable"], document["instabilities"] = not unstable, unstable
    _write(path, document, rails, phases)
    return Bench(path / BENCH, document)


def _graph_rows(
    timed: TimedBundle, asked: TimingRequest, setup: _Setup, on_stage: Callable[[str], None]
) -> dict[str, Any]:
    """The rows of one of the graphs ahead of the one that bench.json is about."""
    on_stage(f"time {timed.file}")
    trace = measure(timed.call, asked, setup.clock)
    return {"engine": timed.file, "rows": rows_from_samples(trace.samples, asked.percentiles)}


def _compared(
    against: TimedBundle,
    timed: TimedBundle,
    asked: TimingRequest,
    setup: _Setup,
    unstable: list[str],
    on_stage: Callable[[str], None],
) -> dict[str, Any]:
    on_stage(f"compare with {against.bundle.path.name}, in alternating blocks")
    readings: list[Conditions] = []
    with _judged(timed, setup, readings, unstable, "comparison: ") as watch:
        paired = measure_pair(
            against.call,
            timed.call,
            asked,
            setup.clock,
            watch=watch,
            on_round=_now_and_then(on_stage, f"compare with {against.bundle.path.name}"),
        )
        for which in ("baseline", "candidate"):
            latencies = [sample.compute_ms for sample in paired.samples(which)]
            _judge_latency(unstable, f"comparison, {which}: ", latencies)
    return paired_document(against, timed, asked, paired, readings)


def _energy(
    timed: TimedBundle,
    rails: Rails,
    request: EnergyRequest,
    setup: _Setup,
    unstable: list[str],
    on_stage: Callable[[str], None],
) -> tuple[dict[str, Any], Phases]:
    readings: list[Conditions] = []
    with _judged(timed, setup, readings, unstable, "power: ") as watch:
        energy, phases = measure_energy(
            timed.call,
            rails,
            request,
            clock=setup.clock,
            sleep=setup.sleep,
            watch=watch,
            on_stage=on_stage,
        )
    return {"provenance": "measured", **energy.as_dict(), "samples": POWER_CSV}, phases


@contextlib.contextmanager
def _judged(
    timed: TimedBundle, setup: _Setup, readings: list[Conditions], unstable: list[str], phase: str
) -> Iterator[Callable[[], None]]:
    """Gives the block a watch that collects readings, and judges them, and what the block found, at its end.

    Raises:
        MeasurementError: Something changed, and that is not allowed.
    """
    yield lambda: readings.append(read_conditions(setup.root, discrete_gpu=timed.on_gpu))
    unstable += [f"{phase}{text}" for text in instabilities(readings, on_gpu=timed.on_gpu)]
    if unstable and not setup.allow_unstable:
        raise MeasurementError(
            str(timed.bundle.path),
            f"the device changed during the measurement: {'; '.join(unstable)}",
            "pin the clocks (on a Jetson: sudo jetson_clocks), let it cool, take a lower power mode, stop other "
            "programs, warm up longer (--warm-up); --allow-unstable keeps the figures and marks them",
        )


def _now_and_then(on_stage: Callable[[str], None], text: str) -> Callable[[int], None]:
    """Tells the rounds made, every few seconds."""
    last = time.monotonic()

    def on_round(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_STAGES:
            on_stage(f"{text}: {2 * done} pairs")
            last = time.monotonic()

    return on_round


def _judge_latency(unstable: list[str], phase: str, latencies_ms: list[float]) -> None:
    shift = latency_shift(latencies_ms)
    if shift is not None:
        unstable.append(f"{phase}{shift}")


def _write(path: Path, document: dict[str, Any], rails: Rails | None, phases: Phases) -> None:
    """bench.json and power.csv; a power.csv of an earlier measurement does not outlive its bench.json under that name."""
    with disk_errors(path, _UNWRITABLE):
        kept = keep_fuller(path, document)
        document["notes"] += [kept] if kept else []
        if rails is None:
            write_file(path / BENCH, json_bytes(document))
            (path / POWER_CSV).unlink(missing_ok=True)
            return
        with replaced_file(path / BENCH) as bench:  # both are whole before the first takes its place
            bench.write(json_bytes(document))
            bench.flush()
            write_file(path / POWER_CSV, power_csv(rails, phases))


def _check_writable(path: Path) -> None:
    """Told before minutes of measuring, not after."""
    if path.is_dir() and not os.access(path, os.W_OK):
        raise BuildError(str(path), "cannot be written to by this user, bench.json goes there", _UNWRITABLE)
