"""``edgeexport triton``: a bundle as a model of NVIDIA's Triton server. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import BundleArgument, JsonFlag
from edgeexport.terminal.output import emit, print_line

__all__ = ["triton"]


def triton(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Option(help="The model repository; it may hold other models.")] = Path(
        "model_repository"
    ),
    backend: Annotated[
        str, typer.Option(help="onnxruntime: model.onnx; tensorrt: engine.plan; auto: the engine where there is one.")
    ] = "auto",
    name: Annotated[str | None, typer.Option(help="The model's name; the bundle folder's by default.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Write a model repository for NVIDIA's Triton server: the bundle's graph or engine with its config.pbtxt."""
    from edgeexport.commands.triton import write_triton_model

    written = write_triton_model(bundle, out, backend=backend, name=name)

    def show() -> None:
        for file in written.files:
            print_line(f"{written.folder / file}")
        if written.server:
            print_line(f"start the server with {written.server}", "yellow")

    emit(json_output, written.as_dict(), show)
