"""What commands print beside their results: JSON on standard output, stages and interruptions on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from edgeexport.errors import UsageError, plain_text
from edgeexport.terminal.verbosity import is_quiet, is_verbose

__all__ = [
    "emit",
    "error_told",
    "errors_console",
    "images_shown",
    "interrupt_told",
    "print_line",
    "print_note",
    "results_console",
    "stages_shown",
    "told_at_once",
]


class _PlainConsole(Console):
    """Shows strings as they are: brackets are no markup, ``:name:`` is no picture, control characters are spelt out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain_text(text, keep="\n"), **options)


errors_console = _PlainConsole(stderr=True)
# Rich assumes 80 columns where there is no terminal, which breaks words in logs. No standard output: it was closed.
results_console = _PlainConsole(width=None if sys.stdout is not None and sys.stdout.isatty() else 140)

_SECONDS_BETWEEN_LINES = 5.0


def emit(json_output: bool, document: Any, show: Callable[[], None]) -> None:
    """One JSON object on standard output, or what ``show`` prints for people.

    Raises:
        UsageError: It cannot be written: a full disk.
    """
    try:
        if json_output:
            sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")
        else:
            show()
        sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or isinstance(
            error, BrokenPipeError
        ):  # a file's; whoever read the output has gone
            raise
        problem = f"cannot be written: {error.strerror or error}"
        raise UsageError("standard output", problem, "free some space, or send it elsewhere") from None


@contextmanager
def stages_shown(on_interrupt: str = "nothing was written", first: str = "") -> Iterator[Callable[[str], None]]:
    """Stages as they start, on standard error: a spinner on a terminal, where those that ended stay; plain lines elsewhere.

    ``first`` is shown at once, before anything is called.
    """
    with interrupt_told(on_interrupt), _stages() as on_stage:
        if first:
            on_stage(first)
        yield on_stage


def told_at_once(name: str) -> None:
    """A line on standard error ahead of what takes long to load; nothing with ``-q``."""
    if not is_quiet():
        errors_console.print(f"... {plain_text(name)}", style="dim", soft_wrap=True)


@contextmanager
def interrupt_told(consequence: str) -> Iterator[None]:
    """Says on standard error what an interruption of the block leaves: typer makes it exit code 130 without a word."""
    try:
        yield
    except KeyboardInterrupt:
        error_told(f"interrupted; {consequence}")
        raise


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    if is_quiet():
        yield lambda name: None
        return
    begun: list[tuple[str, float]] = []  # the stage that runs
    if not errors_console.is_terminal:

        def on_line(name: str) -> None:
            if begun and is_verbose():
                print(f"    {_ended(*begun.pop())}", file=sys.stderr, flush=True)
            begun[:] = [(plain_text(name), time.monotonic())]
            print(f"... {plain_text(name)}", file=sys.stderr, flush=True)

        yield on_line
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=errors_console, transient=True) as bar:
        task: list[Any] = []

        def on_stage(name: str) -> None:
            if task:
                bar.remove_task(task.pop())
                bar.console.print(f"  {_ended(*begun.pop())}", style="dim", soft_wrap=True)
            begun.append((plain_text(name), time.monotonic()))
            task.append(bar.add_task(plain_text(name), total=None))

        yield on_stage
        if begun:  # not after an error: that stage did not end
            bar.console.print(f"  {_ended(*begun.pop())}", style="dim", soft_wrap=True)


def _ended(name: str, start: float) -> str:
    return f"{name}: {time.monotonic() - start:.1f} s"


def print_line(text: str, style: str | None = None) -> None:
    """A line of a result, on standard output, as it is: neither broken nor read as markup."""
    results_console.print(plain_text(text), style=style, soft_wrap=True)


def print_note(text: str, kind: str = "note") -> None:
    """Something the reader should know, on standard error; with ``-q`` only if it is a warning."""
    if is_quiet() and kind == "note":
        return
    errors_console.print(plain_text(f"{kind}: {text}"), style="yellow", soft_wrap=True)


def error_told(text: str) -> None:
    """What went wrong, on standard error; further lines as an `EdgeExportError` has them."""
    errors_console.print(plain_text(text, keep="\n"), style="bold red", soft_wrap=True)


@contextmanager
def images_shown(on_interrupt: str) -> Iterator[Callable[[int, int, str], None]]:
    """A count of images on standard error: a bar with the time left on a terminal, now and then a line elsewhere.

    Yields:
        To be called with (images done, images in all, the last one's name); a new total begins a new bar.
    """
    if is_quiet():
        with interrupt_told(on_interrupt):
            yield lambda done, total, name: None
        return
    with interrupt_told(on_interrupt), _bar() if errors_console.is_terminal else _lines() as on_progress:
        yield on_progress


@contextmanager
def _bar() -> Iterator[Callable[[int, int, str], None]]:
    columns = (
        TextColumn("images"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=errors_console, transient=True) as bar:
        task: dict[int, Any] = {}

        def on_progress(done: int, total: int, name: str) -> None:
            if total not in task:
                for old in task.values():
                    bar.remove_task(old)
                task.clear()
                task[total] = bar.add_task("", total=total)
            bar.update(task[total], completed=done, description=plain_text(name))

        yield on_progress


@contextmanager
def _lines() -> Iterator[Callable[[int, int, str], None]]:
    begun = last = float("-inf")
    first = shown = -1

    def on_progress(done: int, total: int, name: str) -> None:
        nonlocal begun, first, last, shown
        now = time.monotonic()
        if first < 0 or done < shown:  # the first call, or a new count
            begun, first, last = now, done, float("-inf")
        if done == shown or (done < total and now - last < _SECONDS_BETWEEN_LINES):
            return
        last, shown = now, done
        left = ""
        if first < done < total:
            left = f", about {_duration((now - begun) / (done - first) * (total - done))} left"
        print(f"... {done} of {total} images{left}", file=sys.stderr, flush=True)

    yield on_progress


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
