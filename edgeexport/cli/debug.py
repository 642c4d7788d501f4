"""``edgeexport debug``: where does a bundle's graph first leave its model? No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import BundleArgument, JsonFlag
from edgeexport.terminal.output import emit, stages_shown, told_at_once

__all__ = ["debug"]


def debug(
    bundle: BundleArgument,
    against: Annotated[
        str,
        typer.Option(
            help="export: a fresh export, every node; original: the torch model, every module; dense: what the reduction costs."
        ),
    ] = "export",
    precision: Annotated[
        str | None,
        typer.Option(
            parser=str.lower, help="fp16: round as float16 does; as the bundle is executed here where left out."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of images, of which the first batch is taken.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The weights that the bundle was built from.")] = None,
    policy_checkpoint: Annotated[
        Path | None, typer.Option(help="The policy network's own file, if it had one.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Walk a bundle's graph beside its model: the first part that drifts, the first decision that flips. Exit code 4 if any.

    With --against dense: the reduced model beside the dense one, block by block. A report: exit code 0.
    """
    told_at_once("load torch")
    from edgeexport.commands.debug import debug_bundle
    from edgeexport.terminal.debug import print_walk

    with stages_shown() as on_stage:
        walk = debug_bundle(
            bundle,
            against=against,
            precision=precision,
            data=data,
            checkpoint=checkpoint,
            policy_checkpoint=policy_checkpoint,
            on_stage=on_stage,
        )
    emit(json_output, walk.as_dict(), lambda: print_walk(walk))
    if walk.drift is not None or walk.flip is not None:
        raise typer.Exit(4)
