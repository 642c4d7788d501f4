"""How a measurement looks on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from edgeexport.report.bench_text import conditions_text, device_text, differences_text, launch_text, warm_up_text
from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.profile.bench import Bench

__all__ = ["print_bench"]

_TITLES = {"compute": "compute", "enqueue": "enqueue", "transfer": "transfers", "end_to_end": "end to end"}


def print_bench(bench: Bench) -> None:
    """Latencies, what they were measured on and how, the comparison, and the energy."""
    content = bench.document
    print_line(
        f"{content['bundle']['name']}: {content['engine']} in {content['backend']} {content['versions'][content['backend']]}"
    )
    print_line(f"on {device_text(content['device'])}")
    if content["conditions"]["known"]:
        print_line(conditions_text(content["conditions"]["after"]), "dim")
    results_console.print(_rows_table("measured, milliseconds", {"": content["rows"]}))
    protocol = content["protocol"]
    print_line(
        f"{launch_text(protocol)}; {protocol['runs']} runs in {protocol['seconds']:.1f} s after {warm_up_text(protocol)}",
        "dim",
    )
    print_line(f"{content['images_per_second']:.1f} images per second, one batch after the other")
    if content["baseline"] is not None:
        _print_baseline(content["baseline"], content["bundle"]["name"])
    if content["power"] is not None:
        _print_power(content["power"])
    if content["predicted"] is not None:
        predicted = content["predicted"]
        measured = content["rows"]["compute"]["p50"]
        print_line(
            f"predicted by roofline for {predicted['power_mode']}: {predicted['total_ms']:.2f} ms; "
            f"measured median is {measured / predicted['total_ms']:.2f} times that"
        )
    if content["layers"] is not None:
        _print_layers(content["layers"])
    for text in content["notes"]:
        print_line(f"note: {text}", "yellow")
    for text in content["instabilities"]:
        print_line(f"unstable: {text}", "bold yellow")
    print_line(f"written: {bench.path}", "dim")


def _print_baseline(paired: Mapping[str, Any], candidate: str) -> None:
    speedup, protocol = paired["speedup"], paired["protocol"]
    name = paired["bundle"]["name"]
    if name == candidate:  # two forms of one recipe
        name = f"{name} in {paired['bundle']['folder']}"
    rows = {which: {step: row for step, row in paired["rows"][which].items() if row} for which in paired["rows"]}
    results_console.print(_rows_table(f"in alternating blocks with {name}, milliseconds", rows))
    interval = f"{speedup['low']:.3f} to {speedup['high']:.3f}"
    print_line(
        f"speed-up over {name}: {speedup['estimate']:.3f} ({speedup['confidence']:.0%} interval {interval}, "
        f"{protocol['pairs']} pairs): {speedup['verdict']}",
        {"faster": "green", "slower": "bold red"}.get(speedup["verdict"], "yellow"),
    )
    differences = differences_text(paired)
    if differences:
        print_line(f"not of the models alone: {differences}", "bold yellow")


def _print_power(energy: Mapping[str, Any]) -> None:
    table = Table(title=f"power, watts ({energy['covers']}: {' + '.join(energy['total'])})", title_justify="left")
    for column in ("rail", "at work", "at rest"):
        table.add_column(column, justify="left" if column == "rail" else "right")
    for name, watts in energy["rails"].items():
        table.add_row(name, f"{watts['load_w']:.2f}", f"{watts['idle_w']:.2f}")
    table.add_section()
    table.add_row("total", f"{energy['load_w']:.2f}", f"{energy['idle_w']:.2f}")
    results_console.print(table)
    print_line(
        f"{energy['gross_mj']:.2f} mJ an inference, {energy['net_mj']:.2f} mJ above rest "
        f"({energy['inferences']} inferences in {energy['seconds']:.0f} s, {energy['rate_hz']:.0f} samples a second)"
    )


def _print_layers(layers: Mapping[str, Any]) -> None:
    what = "shares, no latency"
    if layers["provenance"] == "estimate":
        what = f"an estimate, {layers['divided_share']:.0%} was divided between parts by their work"
    table = Table(title=f"parts of the model, with the runtime's profiler on: {what}", title_justify="left")
    for column in ("part", "ms", "share", "GMAC", "MB moved"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in layers["parts"]:
        figures = (
            f"{part['ms']:.3f}",
            f"{part['share']:.1%}",
            f"{part['macs'] / 1e9:.3f}",
            f"{part['bytes'] / 1e6:.1f}",
        )
        table.add_row(part["title"], *figures)
    results_console.print(table)


def _rows_table(title: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row for each step of each group; the columns are those of the summary."""
    table = Table(title=title, title_justify="left")
    first = next(row for rows in groups.values() for row in rows.values() if row is not None)
    columns = ["mean", *(key for key in first if key[0] == "p"), "min", "max", "cv", "n"]
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for group, rows in groups.items():
        for name, row in rows.items():
            title_cell = f"{group} {_TITLES[name]}".strip()
            if row is None:
                table.add_row(title_cell, *(["none"] + [""] * (len(columns) - 1)), style="dim")
            else:
                table.add_row(title_cell, *(_cell(column, row[column]) for column in columns))
    return table


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if column == "n" else f"{value:.1%}" if column == "cv" else f"{value:.3f}"
