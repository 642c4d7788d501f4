"""``edgeexport inspect``: what a bundle or an ONNX file holds. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import JsonFlag
from edgeexport.terminal.output import emit

__all__ = ["inspect"]


def inspect(
    subject: Annotated[Path, typer.Argument(help="A bundle folder, or an ONNX file.")],
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Of a bundle: the kernels of its plan by part of the model.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Show a bundle's token schedule, multiply-accumulates, operators and provenance, or the kernels of its plan."""
    from edgeexport.commands.inspect import inspect_bundle, inspect_model, kernels_of_bundle
    from edgeexport.terminal.kernels import print_kernels
    from edgeexport.terminal.results import print_inspection

    if kernels:
        planned = kernels_of_bundle(subject)
        emit(json_output, planned, lambda: print_kernels(planned))
        return
    facts = inspect_model(subject) if subject.is_file() else inspect_bundle(subject)
    emit(json_output, facts, lambda: print_inspection(facts))
