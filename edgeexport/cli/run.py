"""``edgeexport run``: predictions for photographs. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import BundleArgument, EngineOption, JsonFlag, TrustFileOption, TrustOption
from edgeexport.terminal.output import emit, error_told, stages_shown

__all__ = ["run"]


def run(
    bundle: BundleArgument,
    images: Annotated[list[Path], typer.Argument(help="Photographs of any size.")],
    out_dir: Annotated[Path | None, typer.Option(help="Where pictures go; predictions/<bundle> by default.")] = None,
    engine: EngineOption = "auto",
    policy_every: Annotated[
        int, typer.Option(help="Ask a policy network with a graph of its own for every n-th image.")
    ] = 1,
    trust: TrustOption = None,
    trust_file: TrustFileOption = None,
    json_output: JsonFlag = False,
) -> None:
    """Predict photographs; writes label maps and overlays, or merged regions and the likeliest classes."""
    from edgeexport.commands.run import predict_images
    from edgeexport.plugin.trust import trusting
    from edgeexport.terminal.results import print_predictions

    with trusting(trust or (), trust_file or ()), stages_shown("pictures already written stay") as on_stage:
        predictions = predict_images(
            bundle,
            images,
            out_dir,
            engine=engine,
            policy_every=policy_every,
            progress=lambda done, count, path: on_stage(f"{done} of {count}: {path}"),
        )
    emit(json_output, predictions.as_dict(), lambda: print_predictions(predictions))
    if predictions.error is not None:
        error_told(f"error: {predictions.error}")
        raise typer.Exit(predictions.error.exit_code)
