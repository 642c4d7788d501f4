"""What was measured (bench.json), as the report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.comparison.outdated import engine_left_out, outdated
from edgeexport.report.bench_text import (
    circumstances_text,
    conditions_text,
    device_text,
    differences_text,
    launch_text,
    warm_up_text,
)
from edgeexport.report.chart import Table

__all__ = ["BENCH_SCHEMA", "BenchView", "bench_view"]

BENCH_SCHEMA = "edgeexport.bench/1"

Json = Mapping[str, Any]
Facts = tuple[tuple[str, str], ...]

_TITLES = {"compute": "compute", "enqueue": "enqueue", "transfer": "transfers", "end_to_end": "end to end"}


@dataclass(frozen=True)
class BenchView:
    """A measurement.

    Attributes:
        headline: Median of the compute time.
        circumstances: Device, power mode, runtime and version, in one line: what stands beside every measured figure. Behind
            them, that they are of an earlier engine, where they are; the figures themselves say so, too.
        warnings: Why the figures are to be taken with care; such as a device that changed, or another build measured.
        notes: Further words of the measurement.
        facts: Circumstances at length: device, conditions, engine, protocol.
        rows: Latencies.
        speedup, speedup_words: Against the baseline: in figures, or that none was shown; and what that says. Empty without
            one.
        speedup_facts: How it was found.
        baseline_rows: Latencies of both models in the alternating blocks; None without a baseline.
        energy: For an inference, in figures; empty where no power was measured.
        energy_facts: How it was found.
        rails: Power by rail; None likewise.
    """

    headline: str
    circumstances: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    facts: Facts
    rows: Table
    speedup: str
    speedup_words: str
    speedup_facts: Facts
    baseline_rows: Table | None
    energy: str
    energy_facts: Facts
    rails: Table | None


def bench_view(bench: Json, manifest_sha256: str = "", engine_files: Mapping[str, str] | None = None) -> BenchView:
    """Reads bench.json.

    Args:
        bench: Its content.
        manifest_sha256: Of the manifest beside it now; empty where it is not known.
        engine_files: engine.json's ``files`` now; None without one.
    """
    earlier = outdated(bench, engine_files or {}, manifest_sha256)
    mark = f" ({earlier.partition(' (')[0]})" if earlier else ""
    baseline, power = bench["baseline"], bench["power"]
    speedup = None if baseline is None else baseline["speedup"]
    against = "" if baseline is None else baseline["bundle"]["name"]
    shown = speedup is not None and not speedup["low"] <= 1 <= speedup["high"]
    return BenchView(
        headline=f"{bench['rows']['compute']['p50']:.2f} ms{mark}",
        circumstances="; ".join(filter(None, (circumstances_text(bench), earlier))),
        warnings=tuple(_warnings(bench, earlier, engine_files or {})),
        notes=tuple(map(str, bench["notes"])),
        facts=_facts(bench),
        rows=_latencies({"": bench["rows"]}),
        speedup="" if speedup is None else f"{speedup['estimate']:.2f} times" if shown else "no difference",
        speedup_words="" if baseline is None else f"{'as fast as' if shown else 'of speed shown to'} {against}{mark}",
        speedup_facts=() if baseline is None else _speedup_facts(baseline),
        baseline_rows=None if baseline is None else _latencies(baseline["rows"]),
        energy="" if power is None else f"{power['gross_mj']:.1f} mJ{mark}",
        energy_facts=() if power is None else _energy_facts(power),
        rails=None if power is None else _rails(power),
    )


def _warnings(bench: Json, earlier: str, engine_files: Mapping[str, str]) -> list[str]:
    warnings = [f"measured figures are {earlier}: profile it again"] if earlier else []
    unstable = [] if bench["stable"] else bench["instabilities"] or ["the device changed during the measurement"]
    warnings += [f"unstable: {text}" for text in unstable]
    left_out = engine_left_out(bench, engine_files)
    return [*warnings, f"measured figures are {left_out}"] if left_out else warnings


def _facts(bench: Json) -> Facts:
    protocol, options = bench["protocol"], bench.get("engine_options") or {}
    before, after = (conditions_text(bench["conditions"][when]) for when in ("before", "after"))
    chosen = [f"{name} = {value}" for name, value in options.items() if value not in (None, "", False)]
    others = ", ".join(f"{name} {version}" for name, version in bench["versions"].items() if name != bench["backend"])
    transfers = "copies between host and device timed apart" if protocol["transfers"] else "no copies to a device"
    facts = (
        ("Device", device_text(bench["device"])),
        ("Conditions before", before or "this machine tells none"),
        ("Conditions after", after or "this machine tells none"),
        ("Runs", f"{bench['engine']}, {bench['backend']} {bench['versions'].get(bench['backend'], '')}".rstrip(", ")),
        ("Engine options", ", ".join(chosen)),
        (
            "Protocol",
            f"{protocol['runs']} runs in {protocol['seconds']:.1f} s after {warm_up_text(protocol)}, no sample left out; "
            f"{launch_text(protocol)}; {transfers}",
        ),
        (
            "Batch",
            f"{bench['bundle']['batch']}, {bench['images_per_second']:.1f} images per second one after the other",
        ),
        ("Versions", others),
        ("Measured at", str(bench["measured_at"])),
    )
    return tuple((name, text) for name, text in facts if text)


def _latencies(groups: Mapping[str, Mapping[str, Any]]) -> Table:
    """Milliseconds of each step of each group; a step that a device does not have is left out."""
    rows: list[tuple[str, Json]] = [
        (f"{group} {_TITLES.get(step, step)}".strip(), row)
        for group, steps in groups.items()
        for step, row in steps.items()
        if row is not None
    ]
    first = rows[0][1]
    columns = [*sorted((key for key in first if key[0] == "p"), key=lambda key: float(key[1:])), "mean", "min", "max"]
    cells = [
        (label, *(_cell(row[column]) for column in columns), _percent(row["cv"]), f"{row['n']:,}")
        for label, row in rows
    ]
    return Table(("milliseconds", *columns, "cv", "runs"), tuple(cells))


def _speedup_facts(baseline: Json) -> Facts:
    speedup, protocol = baseline["speedup"], baseline["protocol"]
    interval = f"{speedup['low']:.3f} to {speedup['high']:.3f}"
    text = f"{speedup['estimate']:.3f}, {100 * speedup['confidence']:.0f} % interval {interval}: {speedup['verdict']}"
    differences = differences_text(baseline)
    return (
        ("Against", f"{baseline['bundle']['name']} ({baseline['engine']})"),
        # The differences stand in the same line, which is shown wherever the figure is.
        ("Speed-up", f"{text}. Not of the models alone: {differences}" if differences else text),
        ("Found by", f"{speedup['method']}; {protocol['pairs']} pairs, {protocol['statistic']}"),
    )


def _energy_facts(power: Json) -> Facts:
    average = power["sensor_average_ms"]
    return (
        ("For one inference", f"{power['gross_mj']:.2f} mJ in all, {power['net_mj']:.2f} mJ above rest"),
        ("Power", f"{power['load_w']:.2f} W at work, {power['idle_w']:.2f} W at rest ({power['covers']})"),
        (
            "Found by",
            f"integral over {power['seconds']:.0f} s and {power['inferences']:,} inferences, {power['rate_hz']:.0f} samples "
            f"a second{f', sensors that average over {average} ms' if average else ''}",
        ),
    )


def _rails(power: Json) -> Table:
    rows = [(name, f"{rail['load_w']:.2f}", f"{rail['idle_w']:.2f}") for name, rail in power["rails"].items()]
    total = (" + ".join(power["total"]), f"{power['load_w']:.2f}", f"{power['idle_w']:.2f}")
    return Table(("rail", "W at work", "W at rest"), (*rows, total), sums=(len(rows),))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
