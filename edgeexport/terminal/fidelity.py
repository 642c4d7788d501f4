"""How an evaluation against another model looks on a terminal: rich tables on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from edgeexport.terminal.evaluation import print_left_out
from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.evaluation.fidelity_result import Fidelity, Figure

__all__ = ["ends_text", "mean_text", "print_fidelity"]


def print_fidelity(fidelity: Fidelity) -> None:
    """Means with their intervals, accuracy by class folder, and what was left out."""
    work = f"{fidelity.macs / 1e9:.2f} of {fidelity.against_macs / 1e9:.2f} GMAC"
    title = (
        f"{fidelity.name} against {fidelity.against} on {fidelity.images} images of {fidelity.data} (measured in "
        f"{fidelity.runtime}; {work})"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("output")
    for column in ("", "mean", "95 % interval"):
        table.add_column(column, justify="right" if column else "left")
    for name, figure in fidelity.figures.items():
        words = {"share": "share that agrees", "error": "", "IoU": ""}.get(figure.kind, figure.kind)
        table.add_row(name, words, mean_text(figure), ends_text(figure))
    results_console.print(table)
    if fidelity.accuracy:
        table = Table(title=f"Percent of images of {len(fidelity.classes)} class folders", title_justify="left")
        table.add_column("told by")
        for column in ("reduced" if fidelity.against == "dense" else fidelity.name, fidelity.against, "difference"):
            table.add_column(column, justify="right")
        for name, accuracy in fidelity.accuracy.items():
            sides = (accuracy.reduced, accuracy.against, accuracy.difference)
            table.add_row(name, *(f"{mean_text(figure)} ({ends_text(figure)})" for figure in sides))
        results_console.print(table)
    for name, reason in fidelity.not_told.items():
        print_line(f"no {name}: {reason}", "dim")
    print_left_out(fidelity.left_out)
    print_line(str(fidelity.weights["statement"]), "yellow" if fidelity.random_weights else "dim")
    print_line(f"written: {fidelity.file}", "dim")


def mean_text(figure: Figure) -> str:
    """With the digits that its kind deserves."""
    return f"{figure.mean:.2f}" if figure.kind == "percent" else f"{figure.mean:.4f}"


def ends_text(figure: Figure) -> str:
    """Of its interval."""
    if figure.interval is None:
        return "one image"
    digits = 2 if figure.kind == "percent" else 4
    return f"{figure.interval.low:.{digits}f} to {figure.interval.high:.{digits}f}"
