"""``edgeexport inspect``: what a bundle or an ONNX file holds. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeexport.cli.options import (
    CfgOptions,
    DsmOption,
    JsonFlag,
    PrefixOption,
    RandomOption,
    TomeOption,
    UnmergeBeforeOption,
    file_options,
    recipe_options,
)
from edgeexport.errors import UsageError
from edgeexport.terminal.output import emit

__all__ = ["inspect"]


def inspect(
    subject: Annotated[Path, typer.Argument(help="A bundle folder, an ONNX file, or timm:NAME.")],
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Of a bundle: the kernels of its plan by part of the model.")
    ] = False,
    tome: TomeOption = None,
    dsm: DsmOption = None,
    random: RandomOption = None,
    prefix: PrefixOption = None,
    unmerge_before: UnmergeBeforeOption = None,
    cfg_options: CfgOptions = None,
    json_output: JsonFlag = False,
) -> None:
    """Show a bundle's token schedule, multiply-accumulates, operators and provenance, or the kernels of its plan; of a model
    that timm names its token schedule; of an ONNX file the Vision Transformer that is recognised in it.
    """
    from edgeexport.commands.inspect import inspect_bundle, kernels_of_bundle
    from edgeexport.terminal.kernels import print_kernels
    from edgeexport.terminal.results import print_inspection

    options = recipe_options(cfg_options, tome=tome, dsm=dsm, random=random)
    reading = file_options(prefix, unmerge_before)
    if (not subject.exists() and ":" in str(subject)) or (options and subject.suffix == ".onnx"):
        from edgeexport.commands.inspect import inspect_recipe
        from edgeexport.terminal.results import print_tokens

        tokens = inspect_recipe(str(subject), (*reading, *options))
        emit(json_output, tokens, lambda: print_tokens(tokens["recipe"], tokens["tokens"]))
        return
    if options:
        raise UsageError("--cfg-options and the like", "belong to timm:NAME and to ONNX files", "leave them out")
    if subject.is_file() and not kernels:
        from edgeexport.commands.inspect import inspect_file

        told = inspect_file(subject, prefix, unmerge_before)
        emit(json_output, told, lambda: _print_file(told))
        return
    if reading:
        raise UsageError("--prefix and --unmerge-before", "belong to ONNX files", "leave them out")
    if kernels:
        planned = kernels_of_bundle(subject)
        emit(json_output, planned, lambda: print_kernels(planned))
        return
    facts = inspect_bundle(subject)
    emit(json_output, facts, lambda: print_inspection(facts))


def _print_file(facts: dict[str, Any]) -> None:
    from edgeexport.terminal.recognition import print_recognition
    from edgeexport.terminal.results import print_inspection

    print_inspection(facts)
    print_recognition(facts["recognised"])
