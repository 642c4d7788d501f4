"""How a study looks on a terminal: the front as a rich table, the staircase of the chosen way, sentences."""

from __future__ import annotations

import textwrap

from rich.table import Table

from edgeexport.evaluation.fidelity_result import Figure
from edgeexport.terminal.output import print_line, results_console
from edgeexport.tune.result import Point, TuneResult

__all__ = ["print_study"]

_LINE = 110
_MOST_STAIRS = 12


def print_study(result: TuneResult) -> None:
    """The front and the finalists, then what was chosen and why."""
    results_console.print(_points_table(result))
    if any(ladder.steps for ladder in result.ladders):
        results_console.print(_stairs_table(result))
    for line in textwrap.wrap(result.statement, _LINE):
        print_line(line, "yellow" if result.dense_wins or not result.beats_floor else "")
    for sentence in result.not_tried:
        print_line(f"not tried: {sentence}", "dim")
    print_line(str(result.weights["statement"]), "yellow" if result.weights["origin"] == "random" else "dim")
    if result.recipe_file is not None:
        print_line(f"recipe   {result.recipe_file}")
    print_line(f"written: {result.file}, {result.picture}", "dim")


def _points_table(result: TuneResult) -> Table:
    unit = "GMAC" if result.unit == "MACs" else "ms"
    table = Table(title=f"{result.recipe}: {result.bounds.text}; {unit} {result.costs_from}", title_justify="left")
    columns = ("", "form", "precision", "tokens out", unit, "by", "kernels", "lowest cosine", "points lost")
    for column in columns:
        table.add_column(column, justify="left" if column in ("", "form", "precision", "by") else "right")
    line = result.front
    shown = [point for point in result.points if point in line or point.planned or point.form.is_dense]
    if result.floor is not None:
        shown.append(result.floor)
    for point in sorted(shown, key=lambda item: item.cost):
        label = "chosen" if point is result.chosen else "floor" if point is result.floor else ""
        label = label or ("front" if point in line else "")
        table.add_row(label, *_cells(point, result.unit))
    return table


def _cells(point: Point, unit: str) -> tuple[str, ...]:
    kept = point.kept
    cost = f"{point.cost / 1e9:.3f}" if unit == "MACs" else f"{point.cost:.3f}"
    by = "counted" if unit == "MACs" else "its plan" if point.planned else "tokens"
    worst = "1 (itself)" if kept is None else _figure(kept.worst, 4)
    drop = "" if kept is None or kept.drop is None else _figure(kept.drop.figure, 2)
    name = "dense" if point.form.is_dense else point.form.name
    return (name, point.precision, str(point.tokens_out), cost, by, str(point.kernels or ""), worst, drop)


def _figure(figure: Figure | None, digits: int) -> str:
    if figure is None:
        return ""
    if figure.interval is None:
        return f"{figure.mean:.{digits}f}"
    return f"{figure.mean:.{digits}f} ({figure.interval.low:.{digits}f} to {figure.interval.high:.{digits}f})"


def _stairs_table(result: TuneResult) -> Table:
    """Of the chosen way, or the first: cost against tokens, a row for each step; many are thinned out."""
    ways = {ladder.way: ladder for ladder in result.ladders}
    ladder = ways.get(result.chosen.form.way, result.ladders[0])
    unit = "GMAC" if result.unit == "MACs" else "ms"
    table = Table(title=f"steps of {ladder.way}: counts that cost the same are one", title_justify="left")
    for column in ("counts", "tokens out", unit, "counts of equal cost"):
        table.add_column(column, justify="left" if column == "counts" else "right")
    stride = max(1, -(-len(ladder.steps) // _MOST_STAIRS))
    for step in ladder.steps[::stride]:
        cost = f"{step.cost / 1e9:.3f}" if result.unit == "MACs" else f"{step.cost:.3f}"
        table.add_row(step.form.counts, str(step.tokens_out), cost, str(step.counts))
    return table
