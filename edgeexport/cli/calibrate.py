"""``edgeexport calibrate``: a recipe's constants from images. No logic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexport.cli.options import (
    CfgOptions,
    CheckpointOption,
    DsmOption,
    ImageSuffixOption,
    JsonFlag,
    LabelSuffixOption,
    LimitOption,
    RandomOption,
    ReduceZeroLabelFlag,
    RestartFlag,
    TomeOption,
    recipe_options,
)
from edgeexport.errors import UsageError
from edgeexport.terminal.output import emit, images_shown, print_note, stages_shown, told_at_once

if TYPE_CHECKING:
    from edgeexport.calibration.options import CalibrationOptions

__all__ = ["calibrate"]


def calibrate(
    recipe: Annotated[
        str, typer.Argument(help="A recipe of a segmenter; for merging one of a timm host, or timm:NAME.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images/ and annotations/, or of images alone; --delay has photographs of its own."
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Share of images in which no token below its threshold is pruned (ALGM: merged), such as 0.9."
        ),
    ] = None,
    max_miou_drop: Annotated[
        float | None, typer.Option(help="The cheapest counts that lose at most so many points of mIoU, such as 0.5.")
    ] = None,
    macs: Annotated[
        float | None,
        typer.Option(help="The best counts, or merging, within so many multiply-accumulates, such as 60e9."),
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="The best counts, or merging, within so many milliseconds, by --latency-table.")
    ] = None,
    latency_table: Annotated[
        Path | None, typer.Option(help="JSON of a device's times by token count; see python -m benchmarks block-table.")
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option(
            help="Choose method and r of merging so that every mean cosine to the dense model's outputs is at least this, such "
            "as 0.99."
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Choose them so that at most so many points of top-1 are lost; of agreement with the dense model where no "
            "folders name the classes."
        ),
    ] = None,
    delay: Annotated[bool, typer.Option("--delay", help="Propose DSM's delay from token similarity.")] = False,
    flow: Annotated[
        bool, typer.Option("--flow", help="Of a language model: which layers merge across modalities, from --data.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="Subfolder of images and annotations, such as val.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Instead of the thresholds in the recipe.")] = None,
    checkpoint: CheckpointOption = None,
    tome: TomeOption = None,
    dsm: DsmOption = None,
    random: RandomOption = None,
    cfg_options: CfgOptions = None,
    limit: LimitOption = None,
    image_suffix: ImageSuffixOption = None,
    label_suffix: LabelSuffixOption = None,
    reduce_zero_label: ReduceZeroLabelFlag = None,
    out_dir: Annotated[Path | None, typer.Option(help="Where files go; calibration/<recipe> by default.")] = None,
    restart: RestartFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Choose a recipe's constants from images: tokens to share and prune, DSM's delay, or which method merges how much."""
    told_at_once("load what calibrates")
    from edgeexport.calibration.options import CalibrationOptions
    from edgeexport.recipe import load_recipe

    if flow:
        if delay or min_cosine is not None:
            raise UsageError("--flow", "stands alone", "leave --delay and --min-cosine out")
        _calibrate_flow(
            recipe, data, recipe_options(cfg_options, tome=tome, dsm=dsm, random=random), limit, json_output
        )
        return
    options = CalibrationOptions(
        data=data,
        coverage=coverage,
        max_miou_drop=max_miou_drop,
        macs=macs,
        latency_ms=latency_ms,
        latency_table=latency_table,
        min_cosine=min_cosine,
        max_drop=max_drop,
        split=split,
        threshold=threshold,
        checkpoint=checkpoint,
        cfg_options=recipe_options(cfg_options, tome=tome, dsm=dsm, random=random),
        limit=limit,
        image_suffix=image_suffix,
        label_suffix=label_suffix,
        reduce_zero_label=reduce_zero_label,
        out_dir=out_dir,
        restart=restart,
    )
    if delay:
        _calibrate_delay(recipe, options, json_output)
        return
    from edgeexport.calibration.merging_request import concerns_merging

    if concerns_merging(recipe, options):
        _calibrate_merging(recipe, options, json_output)
    elif "algm" in load_recipe(recipe, options.cfg_options, options.checkpoint).reductions:
        _calibrate_algm(recipe, options, json_output)
    else:
        _calibrate_counts(recipe, options, json_output)


def _calibrate_merging(recipe: str, options: CalibrationOptions, json_output: bool) -> None:
    from edgeexport.calibration.merging import calibrate_merging
    from edgeexport.terminal.merging import print_merging

    with images_shown("what was measured is kept, and the same command goes on from there") as on_progress:
        calibration = calibrate_merging(recipe, options, on_progress=on_progress, on_note=print_note)
    emit(json_output, calibration.as_dict(), lambda: print_merging(calibration))


def _calibrate_algm(recipe: str, options: CalibrationOptions, json_output: bool) -> None:
    from edgeexport.calibration.calibrate_algm import calibrate_algm
    from edgeexport.terminal.calibration import print_algm

    with stages_shown() as on_stage:
        calibration = calibrate_algm(recipe, options, on_stage)
    emit(json_output, calibration.as_dict(), lambda: print_algm(calibration))


def _calibrate_counts(recipe: str, options: CalibrationOptions, json_output: bool) -> None:
    from edgeexport.calibration.calibrate_counts import calibrate_counts
    from edgeexport.terminal.calibration import passes_shown, print_counts

    with passes_shown("what was measured is kept, and the same command goes on from there") as on_progress:
        calibration = calibrate_counts(recipe, options, on_progress=on_progress, on_note=print_note)
    emit(json_output, calibration.as_dict(), lambda: print_counts(calibration))


def _calibrate_delay(recipe: str, options: CalibrationOptions, json_output: bool) -> None:
    from edgeexport.calibration.calibrate_delay import calibrate_delay
    from edgeexport.terminal.results import print_delay

    with stages_shown() as on_stage:
        calibration = calibrate_delay(recipe, options, on_stage)
    emit(json_output, calibration.as_dict(), lambda: print_delay(calibration))


def _calibrate_flow(
    recipe: str, data: Path | None, cfg_options: Sequence[str], limit: int | None, json_output: bool
) -> None:
    from edgeexport.calibration.flow import calibrate_flow
    from edgeexport.recipe.prompt import prompt_recipe
    from edgeexport.terminal.answer import print_flow

    found = prompt_recipe(recipe, cfg_options)
    if found is None:
        raise UsageError("--flow", f"is for language models, {recipe} is none", "leave it out")
    with stages_shown() as on_stage:
        calibration = calibrate_flow(found, data, limit, on_stage)
    emit(json_output, calibration.as_dict(), lambda: print_flow(calibration))
