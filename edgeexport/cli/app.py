"""The command line assembled: a file for each command. Errors become one line on standard error and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from edgeexport.cli.build import build
from edgeexport.cli.calibrate import calibrate
from edgeexport.cli.command import Command, Group
from edgeexport.cli.compare import compare
from edgeexport.cli.debug import debug
from edgeexport.cli.evaluate import evaluate
from edgeexport.cli.inspect import inspect
from edgeexport.cli.lint import lint
from edgeexport.cli.machine import doctor, recipes, version
from edgeexport.cli.plugin import plugin_app
from edgeexport.cli.profile import profile
from edgeexport.cli.run import run
from edgeexport.cli.signals import ended_like_an_interrupt
from edgeexport.cli.triton import triton
from edgeexport.cli.tune import tune
from edgeexport.cli.verify import verify
from edgeexport.errors import EdgeExportError, UsageError, error_of_memory, error_of_system
from edgeexport.terminal.output import emit, error_told
from edgeexport.terminal.verbosity import is_verbose, set_verbosity
from edgeexport.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Static-shape deployment bundles for token-reduced Vision Transformers.",
)
app.add_typer(plugin_app, name="plugin")


def _version_shown(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version_shown, is_eager=True)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Results, warnings and errors alone; also behind the command.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Also how long every stage took, and where in the program an error came up."
        ),
    ] = False,
) -> None:
    """Static-shape deployment bundles for token-reduced Vision Transformers."""
    if quiet and verbose:
        raise UsageError("-q and -v", "are opposites", "leave one of them out")
    if quiet or verbose:
        set_verbosity("quiet" if quiet else "verbose")


for _command in (
    version, doctor, recipes, build, inspect, lint, verify, debug, run, evaluate, calibrate, tune, compare, profile, triton,
):  # fmt: skip
    app.command(cls=Command)(_command)


def main() -> NoReturn:
    """Entry point: runs the command line and exits with the codes of the design (0, 2, 3, 4, 5, 6, 7, 8, 9); 1 without a
    word where whoever reads the output has gone.
    """
    _use_streams_as_they_are()
    set_verbosity("normal")
    try:
        with ended_like_an_interrupt():
            app(standalone_mode=True, prog_name="edgeexport")
    except Exception as raised:
        error = _error_to_tell(raised)
        if error is None:
            raise
        with contextlib.suppress(OSError, UsageError):  # both streams may be full
            if is_verbose():
                error_told("".join(traceback.format_exception(raised)).rstrip())
            error_told(f"error: {error}")
            if "--json" in sys.argv:
                emit(True, {"error": error.as_dict()}, lambda: None)
        _give_up_output()
        sys.exit(error.exit_code)
    sys.exit(0)


def _error_to_tell(raised: Exception) -> EdgeExportError | None:
    """None where only a traceback tells what happened."""
    if isinstance(raised, EdgeExportError):
        return raised
    from edgeexport.device.packages import error_of_package  # which loads more than the first word of a command needs

    if isinstance(raised, OSError):
        return error_of_package(raised) or error_of_system(raised)
    return error_of_package(raised) or error_of_memory(raised)


def _use_streams_as_they_are() -> None:
    """Closed ones lead nowhere, so that no file opened later gets their number; letters that they lack are spelt out."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if number else "r"))
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _give_up_output() -> None:
    """What standard output does not take is dropped, or Python would complain of it once more as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
