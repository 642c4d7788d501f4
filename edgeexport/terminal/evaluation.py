"""How results that rest on a user's images look on a terminal: rich tables on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.evaluation.result import Evaluation

__all__ = ["print_evaluation"]

_SHOWN = 5


def print_evaluation(found: Evaluation) -> None:
    """Scores of every form, the classes, and what was left out."""
    where = f"{found.data}{'' if found.split is None else f', {found.split}'}"
    title = f"{found.subject} on {found.primary.images} images of {where} (measured)"
    table = Table(title=escape(title), title_justify="left")
    for column in ("form", "mIoU", "pixel accuracy", "mean accuracy", "tokens in a block", "GMAC"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for name, form in found.forms.items():
        scores = form.scores
        percents = (f"{value:.2f}" for value in (scores.miou, scores.pixel_accuracy, scores.mean_accuracy))
        table.add_row(name, *percents, f"{form.tokens_mean:.1f}", f"{form.macs_mean / 1e9:.3f}")
    results_console.print(table)
    _print_classes(found)
    for name, reason in found.not_run.items():
        print_line(f"{name} not run: {reason}", "dim")
    if found.left_out:
        more = len(found.left_out) - _SHOWN
        shown = "; ".join(f"{item.name}: {item.problem}" for item in found.left_out[:_SHOWN])
        print_line(f"left out {len(found.left_out)}: {shown}{f'; and {more} more' if more > 0 else ''}", "yellow")
    print_line(str(found.weights["statement"]), "yellow" if found.random_weights else "dim")
    print_line(f"written: {found.file}", "dim")


def _print_classes(found: Evaluation) -> None:
    """IoU of every class in every form; the width of a terminal decides on the columns."""
    table = Table(title="IoU of the classes", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("class")
    for name in found.forms:
        table.add_column(name, justify="right")
    for number, label in enumerate(found.classes):
        values = [form.scores.per_class_iou[number] for form in found.forms.values()]
        if any(value is not None for value in values):
            table.add_row(escape(label), *("" if value is None else f"{value:.2f}" for value in values))
    results_console.print(table)
    absent = [
        label
        for number, label in enumerate(found.classes)
        if all(form.scores.per_class_iou[number] is None for form in found.forms.values())
    ]
    if absent:
        print_line(f"neither labelled nor predicted: {', '.join(absent)}", "dim")
