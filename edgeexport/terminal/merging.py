"""How a calibration of merging looks on a terminal: a rich table on standard output."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.table import Table

from edgeexport.terminal.fidelity import ends_text, mean_text
from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.calibration.merging import MergingCalibration
    from edgeexport.calibration.merging_candidate import MergingCandidate

__all__ = ["print_merging"]

_LINE = 110


def print_merging(calibration: MergingCalibration) -> None:
    """What is proposed, beside every method's largest r or all that fit the budget, and random merging at equal cost."""
    title = f"{calibration.recipe}: {calibration.request.text} (measured)"
    table = Table(title=title, title_justify="left")
    names = list(calibration.tried[0].cosines) if calibration.tried else []
    drop = calibration.tried[0].drop if calibration.tried else None
    columns = ["", "merging", "r", "GMAC"]
    columns += ["ms"] if calibration.unit == "ms" else []
    columns += names
    columns += [] if drop is None else [f"points of {drop.measure} lost"]
    for column in columns:
        table.add_column(column, justify="left" if column in ("", "merging") else "right")
    for label, items in _groups(calibration).items():
        for item in items:
            name = "proposed" if item is calibration.chosen else label
            cells = [f"{mean_text(figure)} ({ends_text(figure)})" for figure in item.cosines.values()]
            cells += [] if item.drop is None else [f"{mean_text(item.drop.figure)} ({ends_text(item.drop.figure)})"]
            cost = [f"{item.cost:.3f}"] if calibration.unit == "ms" else []
            table.add_row(name, item.setting.name, _r(item), f"{item.macs / 1e9:.3f}", *cost, *cells)
    if calibration.tried:
        results_console.print(table)
    for line in textwrap.wrap(calibration.statement, _LINE):
        print_line(line, "" if calibration.chosen is not None and calibration.beats_floor else "yellow")
    if calibration.drop_of:
        print_line(f"percent of {calibration.drop_of.partition(': ')[2]}", "dim")
    if calibration.costs_from:
        print_line(f"times by the table, {calibration.costs_from}", "dim")
    for sentence in calibration.not_tried if calibration.tried else ():
        print_line(f"not tried: {sentence}", "dim")
    print_line(str(calibration.weights["statement"]), "yellow" if calibration.random_weights else "dim")
    if calibration.recipe_file is not None:
        print_line(f"recipe   {calibration.recipe_file}")
    print_line(f"written: {calibration.file}", "dim")


def _groups(calibration: MergingCalibration) -> dict[str, tuple[MergingCandidate, ...]]:
    """Under what a row stands -> candidates; none stands twice."""
    shown: list[MergingCandidate] = []
    groups: dict[str, tuple[MergingCandidate, ...]] = {}
    first = {
        "keeps it, largest r": calibration.largest,
        "proposed": () if calibration.chosen is None else (calibration.chosen,),
    }
    for label, items in (first | {"at equal cost": calibration.equal, "compared": calibration.compared}).items():
        groups[label] = tuple(item for item in items if not any(item is other for other in shown))
        shown += groups[label]
    return groups


def _r(item: MergingCandidate) -> str:
    if isinstance(item.r, int):
        return str(item.r)
    counts = [count for count in item.r if count]
    return f"{max(counts)} in the first {counts.count(max(counts))} that merge, then {min(counts)}"
