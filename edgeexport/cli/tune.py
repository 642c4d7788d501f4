"""``edgeexport tune``: the best static form of a model for a device and images. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import (
    CfgOptions,
    CheckpointOption,
    JsonFlag,
    LimitOption,
    PrefixOption,
    RestartFlag,
    UnmergeBeforeOption,
    file_options,
)
from edgeexport.terminal.output import emit, images_shown, print_note, told_at_once

__all__ = ["tune"]


def tune(
    subject: Annotated[str, typer.Argument(help="A recipe, a model's name such as timm:NAME, or an ONNX file.")],
    target: Annotated[
        str, typer.Option(help="Whose latency counts: orin, orin-32gb, orin-nx, orin-nano, thor, gpu or cpu.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder of images, or of a folder of images for each class.")
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option(help="The cheapest form whose mean cosines to the dense model's outputs are at least this."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="The cheapest form that loses at most so many points of top-1; of agreement with the dense model where no "
            "folders name the classes."
        ),
    ] = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(help="The form that loses least within so many ms per image; beside a bound a limit."),
    ] = None,
    latency_table: Annotated[
        Path | None, typer.Option(help="JSON of a device's measured times by token count, instead of predicted ones.")
    ] = None,
    precision: Annotated[list[str] | None, typer.Option(help="fp16 or fp32; repeatable. Both by default.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="tome or dsm; repeatable. All that fit by default.")] = None,
    trials: Annotated[int, typer.Option(help="How many the search asks for.")] = 48,
    budget: Annotated[str | None, typer.Option(help="No trial begins after this time, such as 30m or 2h.")] = None,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    workers: Annotated[int, typer.Option(help="Worker processes on this machine, by Dask; 0: this process.")] = 0,
    scheduler: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="A Dask scheduler, whose workers measure instead.")
    ] = None,
    checkpoint: CheckpointOption = None,
    prefix: PrefixOption = None,
    unmerge_before: UnmergeBeforeOption = None,
    cfg_options: CfgOptions = None,
    limit: LimitOption = None,
    out_dir: Annotated[Path | None, typer.Option(help="Where files go; tune/<recipe> by default.")] = None,
    restart: RestartFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Search method, tokens per block and precision for a device and your images; resumable."""
    told_at_once("load what tunes")
    from edgeexport.tune.bounds import TuneOptions
    from edgeexport.tune.shown import print_study
    from edgeexport.tune.tune import tune as tuned

    options = TuneOptions(
        data=data,
        target=target,
        min_cosine=min_cosine,
        max_drop=max_drop,
        latency_ms=latency_ms,
        latency_table=latency_table,
        precisions=tuple(precision or ()),
        methods=tuple(method or ()),
        trials=trials,
        budget=budget,
        limit=limit,
        seed=seed,
        workers=workers,
        scheduler=scheduler,
        checkpoint=checkpoint,
        cfg_options=(*file_options(prefix, unmerge_before), *(cfg_options or ())),
        out_dir=out_dir,
        restart=restart,
    )
    with images_shown("what was measured is kept, and the same command goes on from there") as on_progress:
        result = tuned(
            subject,
            options,
            on_progress=on_progress,
            on_note=print_note,
            on_stage=lambda name: print_note(name, "stage"),
        )
    emit(json_output, result.as_dict(), lambda: print_study(result))
