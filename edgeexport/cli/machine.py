"""``edgeexport version``, ``doctor`` and ``recipes``: what is installed on this machine. No logic."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeexport.cli.options import JsonFlag
from edgeexport.terminal.output import emit
from edgeexport.version import __version__

__all__ = ["doctor", "recipes", "version"]


def version(json_output: JsonFlag = False) -> None:
    """Print the version; with --json also the schemas, which `--host` compares."""
    from edgeexport.remote.edgeexport import version_facts

    emit(json_output, version_facts(), lambda: typer.echo(__version__))


def doctor(
    target: Annotated[str | None, typer.Option(help="Only this target.")] = None, json_output: JsonFlag = False
) -> None:
    """Tell what this machine can do, and what is missing for each target."""
    from edgeexport.commands.doctor import examine
    from edgeexport.terminal.results import print_doctor

    examination = examine(target)
    emit(json_output, examination.as_dict(), lambda: print_doctor(examination))


def recipes(json_output: JsonFlag = False) -> None:
    """List the shipped recipes."""
    from edgeexport.config.lookup import shipped_recipes, shipped_recipes_folder
    from edgeexport.terminal.results import print_recipes

    shipped = shipped_recipes()
    folder = shipped_recipes_folder()
    document = {"folder": str(folder), "recipes": [{"name": name, "description": line} for name, line in shipped]}
    emit(json_output, document, lambda: print_recipes(shipped, folder))
