"""The command line assembled: a file for each command. Errors become one line on standard error and an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from edgeexport.cli.build import build
from edgeexport.cli.calibrate import calibrate
from edgeexport.cli.compare import compare
from edgeexport.cli.debug import debug
from edgeexport.cli.evaluate import evaluate
from edgeexport.cli.inspect import inspect, lint
from edgeexport.cli.machine import doctor, recipes, version
from edgeexport.cli.plugin import plugin_app
from edgeexport.cli.profile import profile
from edgeexport.cli.run import run
from edgeexport.cli.verify import verify
from edgeexport.device.packages import error_of_package
from edgeexport.errors import EdgeExportError
from edgeexport.terminal.output import errors_console

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Static-shape deployment bundles for token-reduced Vision Transformers.",
)
app.add_typer(plugin_app, name="plugin")


@app.callback()
def _root() -> None:
    """Static-shape deployment bundles for token-reduced Vision Transformers."""


for _command in (
    version, doctor, recipes, build, inspect, lint, verify, debug, run, evaluate, calibrate, compare, profile,
):  # fmt: skip
    app.command()(_command)


def main() -> NoReturn:
    """Entry point: runs the command line and exits with the codes of the design (0, 2, 3, 4, 5, 6, 7, 8, 9)."""
    try:
        app(standalone_mode=True)
    except Exception as raised:
        error = raised if isinstance(raised, EdgeExportError) else error_of_package(raised)
        if error is None:
            raise
        errors_console.print(f"error: {error}", style="bold red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(error.exit_code)
    sys.exit(0)


if __name__ == "__main__":
    main()
