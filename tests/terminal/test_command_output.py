"""Progress on standard error: lines elsewhere than on a terminal, not too many, with the time left."""

from __future__ import annotations

import time

import pytest

from edgeexport.terminal import output as command_output
from edgeexport.terminal.output import images_shown, print_note


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(command_output, "time", found)
    return found


def test_lines_come_at_most_every_five_seconds_and_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with images_shown("kept") as on_progress:
        for done in range(301):
            on_progress(done, 300, f"{done}.png")
            clock.now += 1
        on_progress(300, 300, "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "... 0 of 300 images"
    assert lines[1] == "... 5 of 300 images, about 4 min 55 s left"
    assert lines[-2] == "... 295 of 300 images, about 5 s left"
    assert lines[-1] == "... 300 of 300 images"
    assert len(lines) == 61


def test_the_time_left_counts_what_this_run_has_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with images_shown("kept") as on_progress:
        on_progress(900, 1000, "")
        clock.now += 10
        on_progress(901, 1000, "")
        on_progress(0, 50, "")  # another count
        clock.now += 3600 * 2
        on_progress(1, 50, "")
    assert capsys.readouterr().err.splitlines() == [
        "... 900 of 1000 images",
        "... 901 of 1000 images, about 16 min 30 s left",
        "... 0 of 50 images",
        "... 1 of 50 images, about 98 h 0 min left",
    ]


def test_an_interruption_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), images_shown("what [was] measured is kept"):
        raise KeyboardInterrupt
    assert "interrupted; what [was] measured is kept" in capsys.readouterr().err


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    monkeypatch.setattr(command_output, "errors_console", Console(stderr=True, force_terminal=True, width=100))
    with images_shown("kept") as on_progress:
        on_progress(0, 4, "")
        on_progress(3, 4, "[x].png")
        time.sleep(0.5)  # the bar is drawn ten times a second
        print_note("left out: y")
        on_progress(1, 9, "")
    shown = capsys.readouterr().err
    assert "3/4" in shown
    assert "[x].png" in shown
    assert "note: left out: y" in shown
