"""``edgeexport version``, ``doctor`` and ``recipes``: what is installed on this machine. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import (
    CfgOptions,
    CheckpointOption,
    DsmOption,
    JsonFlag,
    RandomOption,
    TomeOption,
    recipe_options,
)
from edgeexport.errors import UsageError
from edgeexport.terminal.output import emit, print_note
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


def recipes(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[timm:NAME]", help="Show the recipe of this model instead, as timm feeds it."),
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write that recipe into this new file.")] = None,
    checkpoint: CheckpointOption = None,
    tome: TomeOption = None,
    dsm: DsmOption = None,
    random: RandomOption = None,
    cfg_options: CfgOptions = None,
    json_output: JsonFlag = False,
) -> None:
    """List the shipped recipes; or show or write the recipe of a model that timm names."""
    options = recipe_options(cfg_options, tome=tome, dsm=dsm, random=random)
    if model is not None:
        _recipe_of_model(model, write, options, checkpoint, json_output)
        return
    if write is not None or options or checkpoint is not None:
        problem = "means nothing without a model"
        raise UsageError(
            "--write" if write is not None else "options", problem, "name one, such as timm:deit_small_patch16_224"
        )
    from edgeexport.config.lookup import shipped_recipes, shipped_recipes_folder
    from edgeexport.terminal.results import print_recipes

    shipped = shipped_recipes()
    folder = shipped_recipes_folder()
    document = {"folder": str(folder), "recipes": [{"name": name, "description": line} for name, line in shipped]}
    emit(json_output, document, lambda: print_recipes(shipped, folder))


def _recipe_of_model(
    model: str, write: Path | None, options: tuple[str, ...], checkpoint: Path | None, json_output: bool
) -> None:
    from edgeexport.commands.write_recipe import write_recipe

    written = write_recipe(model, write, options, checkpoint)
    for warning in written.warnings:
        print_note(warning, "warning")
    shown = written.text if written.file is None else f"{written.file} written"
    document = {"file": None if written.file is None else str(written.file), "text": written.text}
    emit(json_output, document, lambda: typer.echo(shown))
