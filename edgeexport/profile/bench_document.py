"""bench.json: what was measured, how, on what, and under which conditions. Schema 'edgeexport.bench/1'."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.backends.runner import Timing
from edgeexport.device.clocks import GPU
from edgeexport.device.conditions import Conditions
from edgeexport.device.machine import find_jetson
from edgeexport.profile.inputs import GOLDEN_INPUT
from edgeexport.profile.pairing import PairedTrace
from edgeexport.profile.protocol import TimingRequest, Trace
from edgeexport.profile.statistics import speedup_interval, summary
from edgeexport.profile.timed_bundle import TimedBundle
from edgeexport.profile.timed_differences import mode_name, timed_differences
from edgeexport.version import __version__

__all__ = ["SCHEMA", "bench_document", "paired_document", "rows_from_samples"]

SCHEMA = "edgeexport.bench/1"

Rows = dict[str, dict[str, float | int | None] | None]

_WIDE_CV = 0.2


def bench_document(
    timed: TimedBundle, request: TimingRequest, trace: Trace, readings: Sequence[Conditions], root: Path = Path("/")
) -> dict[str, Any]:
    """The document of a measurement without baseline and power; ``baseline``, ``power``, ``predicted``, ``layers`` are null.

    Args:
        timed: What was timed.
        request, trace: How, and the samples.
        readings: Conditions from the first to the last.
        root: Where /proc and /etc are.
    """
    rows = rows_from_samples(trace.samples, request.percentiles)
    end_to_end = rows["end_to_end"]
    assert end_to_end is not None
    jetson = find_jetson(root)
    return {
        "schema": SCHEMA,
        "provenance": "measured",
        "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "bundle": timed.as_dict(),
        "backend": timed.backend,
        "engine": timed.file,
        "engine_sha256": timed.engine_sha256,
        "engine_options": timed.options,
        "versions": {
            "edgeexport": __version__,
            timed.backend: timed.runner.version,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "device": {**asdict(timed.device), "jetson": None if jetson is None else asdict(jetson)},
        "conditions": _conditions(readings),
        "stable": True,
        "instabilities": [],
        "notes": _notes(timed, rows, readings),
        "protocol": {
            **request.as_dict(),
            "input": GOLDEN_INPUT,
            "warmup_runs": trace.warmup_runs,
            "runs": len(trace.samples),
            "seconds": trace.seconds,
            "cuda_graph": timed.cuda_graph,
            "transfers": rows["transfer"] is not None,
            "clipped": 0,
        },
        "rows": rows,
        "samples": {"compute": [round(sample.compute_ms, 5) for sample in trace.samples]},
        "images_per_second": 1000 * int(timed.feed.image.shape[0]) / float(end_to_end["mean"] or 0),
        "baseline": None,
        "power": None,
        "predicted": None,
        "layers": None,
    }


def paired_document(
    baseline: TimedBundle,
    candidate: TimedBundle,
    request: TimingRequest,
    paired: PairedTrace,
    readings: Sequence[Conditions],
) -> dict[str, Any]:
    """The entry ``baseline``: both models' rows from the alternating blocks, the speed-up of the candidate, and in what
    besides the model the two differ."""
    speedup = speedup_interval([item.compute_ms() for item in paired.rounds])
    return {
        "bundle": baseline.as_dict(),
        "engine": baseline.file,
        "engine_sha256": baseline.engine_sha256,
        "engine_options": baseline.options,
        "protocol": {
            "pairs": 2 * len(paired.rounds),
            "runs_per_block": paired.runs_per_block,
            "lead_in_runs": paired.lead_in,
            "warmup_runs": {"baseline": paired.warmup_runs[0], "candidate": paired.warmup_runs[1]},
            "seconds": paired.seconds,
            "statistic": "compute, median of a block",
        },
        "conditions": _conditions(readings),
        "rows": {
            which: rows_from_samples(paired.samples(which), request.percentiles) for which in ("baseline", "candidate")
        },
        "speedup": speedup.as_dict(),
        "differences": timed_differences(baseline, candidate),
    }


def rows_from_samples(samples: Sequence[Timing], percentiles: Sequence[float] = ()) -> Rows:
    """compute, enqueue, transfer, end_to_end -> summary; None where the device has no such step."""
    rows: Rows = {}
    for row in ("compute", "enqueue", "transfer", "end_to_end"):
        values = [value for sample in samples if (value := getattr(sample, f"{row}_ms")) is not None]
        rows[row] = summary(values, percentiles) if values else None
    return rows


def _notes(timed: TimedBundle, rows: Rows, readings: Sequence[Conditions]) -> list[str]:
    """What a reader should know of a measurement that is valid all the same."""
    notes = []
    first = readings[0]
    if not first.known:
        notes.append("this machine tells neither power mode, clocks nor temperature: only the latencies were watched")
    loose = [
        clock.name
        for clock in first.clocks
        if clock.name in first.loose_clocks and (clock.drives == GPU or not timed.on_gpu)
    ]
    if loose:
        notes.append(f"clocks were not pinned: {', '.join(loose)} (on a Jetson: sudo jetson_clocks)")
    # A runtime times its kernels when it builds: what was fastest under other clocks need not be here.
    built_in = mode_name((timed.options or {}).get("power_mode"))
    timed_in = "" if first.power_mode is None else mode_name(asdict(first.power_mode))
    if built_in and timed_in and built_in != timed_in:
        notes.append(
            f"the engine was built in power mode {built_in} and timed in {timed_in}: its kernels were chosen for the "
            "former; build it again for the fastest here"
        )
    compute = rows["compute"]
    if compute is not None:
        notes += _row_notes(compute)
    return notes


def _row_notes(compute: Mapping[str, float | int | None]) -> list[str]:
    notes = []
    if compute["cv"] is not None and compute["cv"] > _WIDE_CV:
        notes.append(f"the compute time varies by {compute['cv']:.0%}: something else uses this device")
    runs = int(compute["n"] or 0)
    # Less than one run lies above such a percentile: it is the slowest run, or between the slowest two.
    bare = {name: 100 - float(name[1:]) for name in compute if name[0] == "p" and 50 < float(name[1:]) < 100}
    bare = {name: above for name, above in bare.items() if runs * above < 100 - 1e-6}
    if bare:
        names, needed = " and ".join(bare), 100 / min(bare.values())
        notes.append(
            f"{names}: of {runs} runs hardly more than the slowest; {needed:,.0f} or more tell it (--iterations)"
        )
    return notes


def _conditions(readings: Sequence[Conditions]) -> dict[str, Any]:
    return {
        "known": readings[0].known,
        "loose_clocks": list(readings[-1].loose_clocks),
        "readings": len(readings),
        "before": readings[0].as_dict(),
        "after": readings[-1].as_dict(),
    }
