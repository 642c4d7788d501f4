"""How results that rest on a user's images look on a terminal: rich tables on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.evaluation.dataset import LeftOut
    from edgeexport.evaluation.result import Evaluation

__all__ = ["print_evaluation", "print_left_out"]

_SHOWN = 5


def print_evaluation(evaluation: Evaluation) -> None:
    """Scores of every execution, the classes, and what was left out."""
    where = f"{evaluation.data}{'' if evaluation.split is None else f', {evaluation.split}'}"
    title = f"{evaluation.name} on {evaluation.primary.images} images of {where} (measured)"
    table = Table(title=title, title_justify="left")
    for column in ("form", "mIoU", "pixel accuracy", "mean accuracy", "tokens in a block", "GMAC"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for name, reached in evaluation.executions.items():
        scores = reached.scores
        percents = (f"{value:.2f}" for value in (scores.miou, scores.pixel_accuracy, scores.mean_accuracy))
        table.add_row(name, *percents, f"{reached.tokens_mean:.1f}", f"{reached.macs_mean / 1e9:.3f}")
    results_console.print(table)
    _print_classes(evaluation)
    for name, reason in evaluation.not_run.items():
        print_line(f"{name} not run: {reason}", "dim")
    print_left_out(evaluation.left_out)
    print_line(str(evaluation.weights["statement"]), "yellow" if evaluation.random_weights else "dim")
    print_line(f"written: {evaluation.file}", "dim")


def print_left_out(items: Sequence[LeftOut]) -> None:
    """How many, and the first few; nothing where nothing was left out."""
    if items:
        more = len(items) - _SHOWN
        shown = "; ".join(f"{item.name}: {item.problem}" for item in items[:_SHOWN])
        print_line(f"left out {len(items)}: {shown}{f'; and {more} more' if more > 0 else ''}", "yellow")


def _print_classes(evaluation: Evaluation) -> None:
    """IoU of every class in every execution; the width of a terminal decides on the columns."""
    table = Table(title="IoU of the classes", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("class")
    for name in evaluation.executions:
        table.add_column(name, justify="right")
    for number, label in enumerate(evaluation.classes):
        values = [reached.scores.per_class_iou[number] for reached in evaluation.executions.values()]
        if any(value is not None for value in values):
            table.add_row(label, *("" if value is None else f"{value:.2f}" for value in values))
    results_console.print(table)
    absent = [
        label
        for number, label in enumerate(evaluation.classes)
        if all(reached.scores.per_class_iou[number] is None for reached in evaluation.executions.values())
    ]
    if absent:
        print_line(f"neither labelled nor predicted: {', '.join(absent)}", "dim")
