"""How a walk through two executions looks on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from edgeexport.errors import plain_text
from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.verify.walk import Walk

__all__ = ["print_walk"]


def print_walk(walk: Walk) -> None:
    """A row for every part, then the first value that drifts and the first decision that flips."""
    table = Table(title=f"{walk.candidate}, on {', '.join(walk.images)}", title_justify="left")
    for column in ("part", "values", "largest error", "least cosine", "drifts first at"):
        table.add_column(column)
    for part in walk.parts:
        cosine = "" if part.cosine is None else f"{part.cosine:.6f}"
        table.add_row(part.part, str(part.values), f"{part.error:.1e}", cosine, plain_text(part.first_drift))
    results_console.print(table)
    print_line(f"reference: {walk.reference}; errors relative to a value's largest magnitude, limit {walk.limit:g}")
    if walk.drift is None:
        print_line("no value drifts", "green")
    else:
        drift = walk.drift
        problem = drift.problem or f"is off by {drift.error:.1e}"
        print_line(f"first drift: {drift.part}, node {drift.node}: '{drift.value}' {problem}", "bold red")
    if walk.flip is None:
        print_line("every decision is the original's", "green")
    else:
        flip = walk.flip
        why = "a near tie" if flip.near_tie else "no near tie"
        margin = "unknown" if flip.margin is None else f"{flip.margin:.2g}"
        print_line(f"first flip: {flip.stage}, {flip.differing} tokens, margin {margin}: {why}", "bold red")
