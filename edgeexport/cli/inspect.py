"""``edgeexport inspect`` and ``edgeexport lint``: what a bundle, a recipe or an ONNX file holds. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import CfgOptions, JsonFlag
from edgeexport.terminal.output import emit, stages_shown

__all__ = ["inspect", "lint"]


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


def lint(
    subject: Annotated[str, typer.Argument(help="A recipe, or an ONNX file.")],
    target: Annotated[str, typer.Option(help="The target whose TensorRT has to parse it.")] = "orin",
    cfg_options: CfgOptions = None,
    json_output: JsonFlag = False,
) -> None:
    """Would it stay static and parse on the target's TensorRT? Exit code 3 if not."""
    from edgeexport.commands.inspect import lint_subject
    from edgeexport.terminal.results import print_lint

    with stages_shown() as on_stage:
        report = lint_subject(subject, target, cfg_options or [], on_stage)
    emit(json_output, report.as_dict(), lambda: print_lint(report))
    if not report.ok:
        raise typer.Exit(3)
