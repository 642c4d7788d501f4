"""How a calibration of counts looks on a terminal: its passes as they go, and what was found."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from edgeexport.terminal.output import errors_console, interrupt_told, print_line, results_console

if TYPE_CHECKING:
    from rich.console import JustifyMethod

    from edgeexport.calibration.calibrate_algm import AlgmCalibration
    from edgeexport.calibration.calibrate_counts import CountsCalibration
    from edgeexport.calibration.outcome import CalibrationOutcome
    from edgeexport.calibration.proposal import Proposal, ProposedCounts
    from edgeexport.calibration.published_quality import PublishedFigures

__all__ = ["passes_shown", "print_algm", "print_counts"]

_SECONDS_BETWEEN_LINES = 5.0
_SHOWN = 5


@contextmanager
def passes_shown(on_interrupt: str) -> Iterator[Callable[[int, int, str], None]]:
    """Passes over images on standard error: a bar with the time left on a terminal, now and then a line elsewhere.

    Yields:
        To be called with (images done, images in all, what is being done); another task begins a new bar.
    """
    with interrupt_told(on_interrupt), _bar() if errors_console.is_terminal else _lines() as on_progress:
        yield on_progress


def print_algm(calibration: AlgmCalibration) -> None:
    """What the published form merged, and the entry that follows from it."""
    table = Table(title=f"{calibration.recipe}: merged as published, image by image (measured)", title_justify="left")
    for column in ("", "least", "mean", "most", "proposed"):
        table.add_column(column, justify="left" if not column else "right")
    for step, (name, chosen) in enumerate((("windows", calibration.windows), ("tokens", calibration.r))):
        counts = [pair[step] for pair in calibration.per_image]
        mean = f"{sum(counts) / len(counts):.1f}"
        table.add_row(name, str(min(counts)), mean, str(max(counts)), str(chosen))
    results_console.print(table)
    seen = len(calibration.per_image)
    images = f"{seen} images" if calibration.slid == 1 else f"{seen} windows of {seen // calibration.slid} images"
    images = f"{images}, threshold {calibration.threshold:g}"
    print_line(f"{images}: at least {calibration.coverage:.0%} of them reach each proposed count")
    print_line(f"reduction = dict(algm=dict(windows={calibration.windows}, r={calibration.r}))")
    work = f"{calibration.macs / 1e9:.3f} GMAC per image, dense {calibration.dense_macs / 1e9:.3f} (computed)"
    print_line(f"{work}; {calibration.weights}")


def print_counts(calibration: CountsCalibration) -> None:
    """The proposal beside the dense model, what the images allow at each step, how often exits err, and where files are."""
    outcome, files = calibration.outcome, calibration.files
    proposal = outcome.proposal
    _print_alternatives(proposal)
    _print_constants(outcome)
    results_console.print()
    style = "bold green" if proposal.worth else "bold yellow"
    sentences = proposal.statement
    first, rest = sentences[: sentences.find(". ") + 1] or sentences, sentences[sentences.find(". ") + 2 :]
    results_console.print(first, style=style)
    if first != sentences:
        results_console.print(rest)
    results_console.print()
    for item in outcome.left_out[:_SHOWN]:
        print_line(f"left out {item.name}: {item.problem}", "yellow")
    if len(outcome.left_out) > _SHOWN:
        print_line(f"and {len(outcome.left_out) - _SHOWN} more, see {files.evidence}", "yellow")
    print_line(f"weights  {outcome.weights['statement']}", "yellow" if outcome.random_weights else "dim")
    plots = [plot for plot in (files.counts, files.quality, files.exits) if plot is not None]
    print_line(f"recipe   {files.recipe}", "")
    print_line(f"evidence {files.evidence}", "dim")
    print_line(f"plots    {', '.join(map(str, plots))}", "dim")


def _print_alternatives(proposal: Proposal) -> None:
    title = f"{proposal.recipe}: {proposal.request.text}, on {proposal.images} images"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_lines=True, padding=(0, 1, 0, 0))
    cost = "GMAC" if proposal.unit == "MACs" else "ms"
    quality = "mIoU %" if proposal.measure == "mIoU" else "as dense %"
    for column in ("", "reduction", "tokens", cost, "change", quality):
        justify: JustifyMethod = "left" if column in ("", "reduction") else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    table.add_column("points lost", justify="right", no_wrap=True)
    rows = [("dense", proposal.dense), (f"aligned to {proposal.align}", proposal.chosen)]
    if proposal.exact is not None and proposal.exact.counts != proposal.chosen.counts:
        rows.append(("not aligned", proposal.exact))
    if proposal.chosen.counts == proposal.dense.counts:
        rows = rows[:1]  # nothing else was chosen
    for name, measured in rows:
        style = "bold" if measured.counts == proposal.proposed.counts else ""
        table.add_row(name, *_counts_cells(proposal, measured), style=style)
    for name, published in (("by threshold", proposal.published), ("same mean", proposal.equal_mean)):
        if published is not None:
            table.add_row(name, *_threshold_cells(proposal, published), style="dim")
    results_console.print(table)


def _counts_cells(proposal: Proposal, measured: ProposedCounts) -> list[str]:
    """A line for the tokens that enter block 1, then one for every stage; an interval has a line of its own."""
    dense, counts = proposal.dense, measured.counts
    pruned = "\n".join([_shared(counts.num_shared), *(f"after {block}: {k}" for block, k in counts.prune)])
    cost = f"{measured.cost / 1e9:.3f}" if proposal.unit == "MACs" else f"{measured.cost:.3f}"
    change = lost = ""
    if measured is not dense:
        change = proposal.cost_change(measured, dense)
        lost = f"{dense.quality - measured.quality:.2f}"
    if measured.loss is not None:
        lost += f"\n{measured.loss.low:.2f} to {measured.loss.high:.2f}"
    return [pruned, "\n".join(map(str, measured.tokens)), cost, change, f"{measured.quality:.2f}", lost]


def _threshold_cells(proposal: Proposal, published: PublishedFigures) -> list[str]:
    """Counts of these are means over images; their milliseconds are in no table."""
    limits = published.thresholds
    thetas = [_shared(published.num_shared), *(f"after {block}: >{theta:.3g}" for block, theta in limits.items())]
    left = [published.tokens[0], *(published.tokens[block] for block in limits)]
    cost, change = "", ""
    if proposal.unit == "MACs":
        cost = f"{published.macs / 1e9:.3f}"
        change = proposal.macs_change(published)
    lost = f"{proposal.dense.quality - published.quality:.2f}"
    tokens = "\n".join(f"{count:.0f}" for count in left)
    return ["\n".join(thetas), tokens, cost, change, f"{published.quality:.2f}", lost]


def _shared(windows: int) -> str:
    return f"{windows} shared" if windows else ""


def _print_constants(outcome: CalibrationOutcome) -> None:
    """Per constant: what the images would allow, and how often what leaves is wrong."""
    labelled = bool(outcome.exits)
    title = f"what the {outcome.proposal.images} images would allow"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "theta", "least", "median", "most", "chosen", "covered"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    if labelled:
        for column in ("wrong", "by theta"):
            table.add_column(column, justify="right", no_wrap=True)
    for constant in outcome.constants:
        values = sorted(constant.available)
        allowed = [str(values[0]), str(values[len(values) // 2]), str(values[-1])] if values else [""] * 3
        covered = f"{constant.covered} of {len(values)}" if values and constant.chosen else "-"
        theta = "" if constant.theta is None else f"{constant.theta:g}"
        exits = []
        if labelled:
            points = outcome.exit_points(constant.block)
            exits = ["", ""] if points is None else [_percent(points[0].wrong_share), _percent(points[1].wrong_share)]
        name = f"after block {constant.block}" if constant.block else "windows"
        table.add_row(name, theta, *allowed, str(constant.chosen), covered, *exits)
    results_console.print(Padding(table, (1, 0, 0, 1)))
    if labelled:
        print_line(
            " wrong: tokens whose class was wrong when they left, of all that left; by threshold, as many on average",
            "dim",
        )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


@contextmanager
def _bar() -> Iterator[Callable[[int, int, str], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors_console, transient=True) as bar:
        shown: dict[str, Any] = {}

        def on_progress(done: int, total: int, task: str) -> None:
            if task not in shown:
                for old in shown.values():
                    bar.remove_task(old)
                shown.clear()
                shown[task] = bar.add_task(task, total=total)
            bar.update(shown[task], completed=done, total=total)

        yield on_progress


@contextmanager
def _lines() -> Iterator[Callable[[int, int, str], None]]:
    current, begun, last, first, shown = "", 0.0, 0.0, 0, 0

    def on_progress(done: int, total: int, task: str) -> None:
        nonlocal current, begun, last, first, shown
        now = time.monotonic()
        if task != current or done < shown:
            current, begun, first = task, now, done
        elif done < total and now - last < _SECONDS_BETWEEN_LINES:
            return
        last, shown = now, done
        left = ""
        if first < done < total:
            left = f", about {(now - begun) / (done - first) * (total - done):.0f} s left"
        print(f"... {task}: {done} of {total} images{left}", file=sys.stderr, flush=True)

    yield on_progress
