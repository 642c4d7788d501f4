"""How an evaluation against another model looks on a terminal: rich tables on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from edgeexport.terminal.evaluation import print_left_out
from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.calibration.merging import MergingCalibration
    from edgeexport.evaluation.fidelity_result import Fidelity, Figure

__all__ = ["print_fidelity", "print_merging"]


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
        table.add_row(name, words, _mean(figure), _ends(figure))
    results_console.print(table)
    if fidelity.accuracy:
        table = Table(title=f"Percent of images of {len(fidelity.classes)} class folders", title_justify="left")
        table.add_column("told by")
        for column in ("reduced" if fidelity.against == "dense" else fidelity.name, fidelity.against, "difference"):
            table.add_column(column, justify="right")
        for name, accuracy in fidelity.accuracy.items():
            sides = (accuracy.reduced, accuracy.against, accuracy.difference)
            table.add_row(name, *(f"{_mean(figure)} ({_ends(figure)})" for figure in sides))
        results_console.print(table)
    for name, reason in fidelity.not_told.items():
        print_line(f"no {name}: {reason}", "dim")
    print_left_out(fidelity.left_out)
    print_line(str(fidelity.weights["statement"]), "yellow" if fidelity.random_weights else "dim")
    print_line(f"written: {fidelity.file}", "dim")


def print_merging(calibration: MergingCalibration) -> None:
    """What is proposed, beside every method's largest r and the others at equal work."""
    title = f"{calibration.recipe}: merging with every mean cosine at least {calibration.min_cosine} (measured)"
    table = Table(title=title, title_justify="left")
    names = list(calibration.tried[0].cosines) if calibration.tried else []
    for column in ("", "method", "r", "GMAC", *names):
        table.add_column(column, justify="left" if column in ("", "method") else "right")
    groups = (("holds it, largest r", calibration.largest), ("at equal work", calibration.equal))
    for label, items in groups:
        for item in items:
            chosen = "proposed" if label != "at equal work" and item is calibration.chosen else label
            cells = (f"{_mean(figure)} ({_ends(figure)})" for figure in item.cosines.values())
            table.add_row(chosen, item.method, str(item.r), f"{item.macs / 1e9:.3f}", *cells)
    results_console.print(table)
    found = calibration.chosen
    if found is None:
        print_line(f"no method holds {calibration.min_cosine} and saves work; give a lower bound", "yellow")
    else:
        work = f"{found.macs / 1e9:.3f} of {calibration.dense_macs / 1e9:.3f} GMAC"
        print_line(f"--{found.method} {found.r}: {work}, on {found.images} images of {calibration.data}")
        if not calibration.beats_floor:
            print_line("random merging of as much work is as good, as far as these images tell", "yellow")
    print_line(str(calibration.weights["statement"]), "yellow" if calibration.random_weights else "dim")
    print_line(f"written: {calibration.file}", "dim")


def _mean(figure: Figure) -> str:
    return f"{figure.mean:.2f}" if figure.kind == "percent" else f"{figure.mean:.4f}"


def _ends(figure: Figure) -> str:
    if figure.interval is None:
        return "one image"
    digits = 2 if figure.kind == "percent" else 4
    return f"{figure.interval.low:.{digits}f} to {figure.interval.high:.{digits}f}"
