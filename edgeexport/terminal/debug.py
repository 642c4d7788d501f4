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
    dense = walk.against == "dense"
    table = Table(title=f"{walk.candidate}, on {', '.join(walk.images)}", title_justify="left")
    columns = ["part", "values", "largest error", "least cosine", "drifts first at"]
    for column in ["part", "compared", "largest error", "cosine"] if dense else columns:
        table.add_column(column)
    for part in walk.parts:
        cosine = "" if part.cosine is None else f"{part.cosine:.6f}"
        row = [part.part, str(part.values), f"{part.error:.1e}", cosine]
        table.add_row(*row, *([] if dense else [plain_text(part.first_drift)]))
    results_console.print(table)
    if dense:
        _print_reduction(walk)
        return
    print_line(f"reference: {walk.reference}; errors relative to a value's largest magnitude, limit {walk.limit:g}")
    if walk.drift is None:
        print_line("no value drifts", "green")
    else:
        drift = walk.drift
        problem = drift.problem or f"is off by {drift.error:.1e}"
        kind = "module" if walk.against == "original" else "node"
        print_line(f"first drift: {drift.part}, {kind} {drift.node}: '{drift.value}' {problem}", "bold red")
        if walk.agrees:
            print_line(f"{walk.agrees}, just ahead of it, agrees")
    if walk.flip is None:
        print_line("every decision is the original's", "green")
    else:
        flip = walk.flip
        why = "a near tie" if flip.near_tie else "no near tie"
        margin = "unknown" if flip.margin is None else f"{flip.margin:.2g}"
        print_line(f"first flip: {flip.stage}, {flip.differing} tokens, margin {margin}: {why}", "bold red")


def _print_reduction(walk: Walk) -> None:
    print_line(f"reference: {walk.reference}; at the patches that both have, errors relative to the largest magnitude")
    if walk.fall is None:
        print_line("no cosine falls", "green")
    else:
        print_line(f"cosine falls most: {walk.fall.part}, from {walk.fall.before:.6f} to {walk.fall.after:.6f}")
    if walk.agreement is not None:
        print_line(f"equal labels: {100 * walk.agreement:.2f} %")
