"""A command that is told to end clears up as after Ctrl-C, and says so by its exit code."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from edgeexport.cli.signals import ended_like_an_interrupt

COMMAND = """
import os, signal, sys, time
from edgeexport.cli import app as cli
from edgeexport.terminal.output import stages_shown
number = int(sys.argv.pop(1))
# Whatever this process was started with: the tests themselves may run under nohup, or in the background of a script.
default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
signal.signal(number, signal.SIG_IGN if len(sys.argv) > 1 else default)
def wait():
    with stages_shown("all is as it was"):
        try:
            os.kill(os.getpid(), number)
            time.sleep(0.2)
            print("went on")
        finally:
            os.kill(os.getpid(), number)
            print("cleared up")
cli.app = lambda **_: cli.typer.run(wait)
sys.argv = ["edgeexport"]
cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_clears_up_and_ends(number: int, code: int) -> None:
    command = [sys.executable, "-c", COMMAND, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    if number != signal.SIGINT:  # Ctrl-C twice is meant to stop the clearing up
        assert done.stdout == "cleared up\n"
        assert done.stderr == "interrupted; all is as it was\n"


def test_nohup_stays() -> None:
    command = [sys.executable, "-c", COMMAND, str(int(signal.SIGHUP)), "ignored"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\ncleared up\n")


def test_another_exit_code_stays_and_the_signals_are_given_back() -> None:
    with pytest.raises(SystemExit) as ended, ended_like_an_interrupt():
        sys.exit(5)
    assert ended.value.code == 5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
