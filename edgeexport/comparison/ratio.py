"""``latency.ratio`` in conditions: B's compute time over A's with its interval, by which a condition may stay undecided.

``latency.ratio_low > 1.03`` fails where the whole interval lies above 1.03, and is undecided where only a part of it does.
``latency.ratio > 1.03`` is the same with the interval meant. ``latency.ratio_high < 0.97`` likewise downwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeexport.bundle import sha256_of
from edgeexport.comparison.condition import Condition, MetricOfBundle
from edgeexport.comparison.latency_change import LatencyChange, latency_change
from edgeexport.comparison.metrics import RATIO_NAMES, BundleFigures, latency_samples
from edgeexport.errors import MeasurementError, UsageError

__all__ = ["FAILED", "OK", "RATIO_NAMES", "UNDECIDED", "change_between", "outcome_of", "ratio_values"]

FAILED, OK, UNDECIDED = "failed", "ok", "undecided"

_PAIRED = "alternating blocks of one measurement (profile --baseline)"


def change_between(a: BundleFigures, b: BundleFigures) -> LatencyChange | None:
    """How B's compute time differs from A's: from a measurement of both in alternating blocks where B's bench.json has one with
    this very A as its baseline, else from the samples of two measurements; None where a bundle has none.
    """
    baseline = (b.bench or {}).get("baseline") or {}
    manifest = (baseline.get("bundle") or {}).get("manifest_sha256")
    apart = latency_change(latency_samples(a), latency_samples(b))
    if manifest is None or manifest != sha256_of(Path(a.bundle.path) / "manifest.json"):
        return apart
    speedup = baseline["speedup"]
    runs = tuple(int(baseline["rows"][which]["compute"].get("n") or 0) for which in ("baseline", "candidate"))
    return LatencyChange(
        1 / speedup["estimate"],
        1 / speedup["high"],
        1 / speedup["low"],
        speedup["confidence"],
        (runs[0], runs[1]),
        _PAIRED,
    )


def ratio_values(condition: Condition, change: LatencyChange | None) -> dict[MetricOfBundle, float]:
    """The values of those references of a condition that are a ratio of both.

    Raises:
        UsageError: ``A.latency.ratio``: it is of both bundles.
        MeasurementError: There is none: a bundle without samples.
    """
    asked = [reference for reference in condition.references if reference.name in RATIO_NAMES]
    for reference in asked:
        if reference.side != "B" or condition.metric:
            problem = f"{reference.name} is of both bundles, B over A"
            raise UsageError(condition.where, problem, f'write it alone: "{RATIO_NAMES[1]} > 1.03"')
    if asked and change is None:
        problem = f"{asked[0].name} needs the samples of both measurements, at least 10 of each"
        raise MeasurementError(condition.where, problem, "edgeexport profile A and edgeexport profile B measure them")
    if change is None:
        return {}
    known = dict(zip(RATIO_NAMES, (change.ratio, change.low, change.high), strict=True))
    return {reference: known[reference.name] for reference in asked}


def outcome_of(condition: Condition, values: Mapping[MetricOfBundle, float], change: LatencyChange | None) -> str:
    """'failed' where the condition holds, 'ok' where it does not, 'undecided' where that depends on where in its interval the
    ratio of the latencies lies.
    """
    asked = [reference for reference in values if reference.name in RATIO_NAMES]
    if not asked or change is None:
        return FAILED if condition.holds(values.__getitem__) else OK
    ends = [
        condition.holds({**values, **dict.fromkeys(asked, place)}.__getitem__)
        for place in (change.low, change.ratio, change.high)
    ]
    if all(reference.name == RATIO_NAMES[0] for reference in asked):
        return FAILED if all(ends) else UNDECIDED if any(ends) else OK
    if condition.holds(values.__getitem__):
        return FAILED
    return UNDECIDED if any(ends) else OK
