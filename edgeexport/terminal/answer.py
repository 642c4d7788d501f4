"""A language model's answer on a terminal, as it grows, and what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.calibration.flow import FlowCalibration
    from edgeexport.commands.answer import Answer

__all__ = ["AnswerShown", "print_answer", "print_flow"]


class AnswerShown:
    """Prints text as it comes; nothing where it is ``quiet``."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self._any = quiet, False

    def add(self, text: str) -> None:
        """More of the answer."""
        if not self.quiet and text:
            results_console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
            self._any = True

    def end(self) -> None:
        """Closes the line."""
        if self._any:
            results_console.print()


def print_answer(answer: Answer) -> None:
    """Speed, cache and pictures; that the weights mean nothing, where they do."""
    print_line(answer.summary, "dim")
    for path in answer.pictures:
        print_line(f"visual tokens: {path}", "dim")
    if answer.notice:
        print_line(f"{answer.notice}; so does this text", "yellow")


def print_flow(calibration: FlowCalibration) -> None:
    """Rho per layer with its spread, and what it proposes."""
    title = f"{calibration.recipe}: rho over {calibration.samples} samples (measured), theta {calibration.theta:g}"
    table = Table(title=title, title_justify="left")
    for column in ("layer", "mean", "std", "lowest", "highest", "merges", "samples otherwise", "protect"):
        table.add_column(column, justify="right")
    for row in calibration.layers:
        figures = (f"{value:.4f}" for value in (row.mean, row.deviation, row.lowest, row.highest))
        way = "across" if row.cross else "within"
        protect = ", ".join(map(str, row.protect))
        table.add_row(str(row.layer), *figures, way, f"{row.otherwise} of {calibration.samples}", protect)
    results_console.print(table)
    print_line(f"text of the prompts: {calibration.text}")
    print_line(f"flow={calibration.flow}, protect={calibration.protect}")
    if len(set(calibration.flow)) == 1:
        print_line("every layer gets the same flow, so that guidance makes no difference here", "yellow")
    if "random" in calibration.weights:
        print_line(calibration.weights, "yellow")
