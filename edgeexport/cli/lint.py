"""``edgeexport lint``: would a graph stay static and parse on TensorRT? No logic."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import CfgOptions, DsmOption, JsonFlag, RandomOption, TomeOption, recipe_options
from edgeexport.errors import UsageError
from edgeexport.terminal.output import emit, stages_shown

__all__ = ["lint"]


def lint(
    subject: Annotated[str, typer.Argument(help="An ONNX file, a bundle folder, a recipe, or timm:NAME.")],
    target: Annotated[str, typer.Option(help="The target whose TensorRT has to parse it.")] = "orin",
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Ask TensorRT-RTX as well, where it is installed; no GPU is needed.")
    ] = False,
    fix: Annotated[
        Path | None, typer.Option(help="Write a static form of an ONNX file there, compared with it in ONNX Runtime.")
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=1,3,224,224", help="With --fix: the shape of a dynamic input; repeatable."),
    ] = None,
    tome: TomeOption = None,
    dsm: DsmOption = None,
    random: RandomOption = None,
    cfg_options: CfgOptions = None,
    json_output: JsonFlag = False,
) -> None:
    """Would it stay static and parse on the target's TensorRT? Exit code 3 if not."""
    from edgeexport.commands.lint import fix_and_lint, lint_subject
    from edgeexport.terminal.results import print_lint

    if input_shape and fix is None:
        raise UsageError("--input-shape", "needs a file to write", "give --fix OUT as well")
    options = recipe_options(cfg_options, tome=tome, dsm=dsm, random=random)
    with stages_shown() as on_stage:
        if fix is None:
            result = lint_subject(subject, target, options, ask_tensorrt=tensorrt, on_stage=on_stage)
        else:
            shapes = input_shape or []
            result = fix_and_lint(Path(subject), fix, shapes, target, ask_tensorrt=tensorrt, on_stage=on_stage)
    document = result.report.as_dict()
    if result.tensorrt is not None:
        document["tensorrt"] = asdict(result.tensorrt)
    if result.fixed is not None:
        document["fixed"] = asdict(result.fixed)
    emit(json_output, document, lambda: print_lint(result))
    if not result.ok:
        raise typer.Exit(3)
