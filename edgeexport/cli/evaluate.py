"""Commands that rest on a user's images: ``edgeexport evaluate`` and ``edgeexport calibrate``. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.errors import UsageError
from edgeexport.terminal.output import JsonFlag, emit, images_shown, print_note, stages_shown

__all__ = ["calibrate", "evaluate"]


def evaluate(
    subject: Annotated[str, typer.Argument(help="A bundle folder, or a recipe of a segmenter.")],
    data: Annotated[Path, typer.Option(help="Folder with images/ and annotations/, or img_dir/ and ann_dir/.")],
    split: Annotated[str | None, typer.Option(help="Subfolder of both, such as val.")] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(help="adaptive, fixed or onnxruntime; repeatable. By default all in reach."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights, instead of the recipe's; of a bundle, those it was built from.")
    ] = None,
    policy_checkpoint: Annotated[
        Path | None, typer.Option(help="Of a bundle: the policy network's own file, if it had one.")
    ] = None,
    cfg_options: Annotated[list[str] | None, typer.Option("--cfg-options", help="key=value; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many images by name.")] = None,
    reduce_zero_label: Annotated[
        bool, typer.Option("--reduce-zero-label", help="In the annotations 0 is no class and classes begin with 1.")
    ] = False,
    out_dir: Annotated[Path | None, typer.Option(help="Where files go; evaluation/<name> by default.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Drop what an interrupted run has measured.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Measure mIoU, pixel accuracy, tokens and work on labelled images, in every form in reach."""
    from edgeexport.evaluation.evaluate import evaluate as evaluate_subject
    from edgeexport.terminal.evaluation import print_evaluation

    with images_shown("what was measured is kept, and the same command goes on from there") as on_progress:
        found = evaluate_subject(
            subject,
            data=data,
            split=split,
            forms=form,
            checkpoint=checkpoint,
            policy_checkpoint=policy_checkpoint,
            cfg_options=cfg_options or [],
            limit=limit,
            reduce_zero_label=reduce_zero_label,
            out_dir=out_dir,
            restart=restart,
            on_progress=on_progress,
            on_note=print_note,
        )
    emit(json_output, found.as_dict(), lambda: print_evaluation(found))


def calibrate(
    recipe: Annotated[str, typer.Argument(help="A recipe of a SegViT; with --delay one of a timm host.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images/ and annotations/, or of images alone; --delay has photographs of its own."
        ),
    ] = None,
    coverage: Annotated[
        float | None, typer.Option(help="Share of images in which no token below its threshold is pruned, such as 0.9.")
    ] = None,
    max_miou_drop: Annotated[
        float | None, typer.Option(help="The cheapest counts that lose at most so many points of mIoU, such as 0.5.")
    ] = None,
    macs: Annotated[
        float | None, typer.Option(help="The best counts within so many multiply-accumulates, such as 60e9.")
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="The best counts within so many milliseconds, by --latency-table.")
    ] = None,
    latency_table: Annotated[
        Path | None, typer.Option(help="JSON of a device's times by token count; see python -m benchmarks block-table.")
    ] = None,
    delay: Annotated[bool, typer.Option("--delay", help="Propose DSM's delay from token similarity.")] = False,
    split: Annotated[str | None, typer.Option(help="Subfolder of images and annotations, such as val.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Instead of the thresholds in the recipe.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights, instead of the recipe's.")] = None,
    cfg_options: Annotated[list[str] | None, typer.Option("--cfg-options", help="key=value; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many images by name.")] = None,
    reduce_zero_label: Annotated[
        bool, typer.Option("--reduce-zero-label", help="In the annotations 0 is no class and classes begin with 1.")
    ] = False,
    out_dir: Annotated[Path | None, typer.Option(help="Where files go; calibration/<recipe> by default.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Drop what an interrupted run has measured.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Choose a recipe's constants from images: tokens to share and prune, or DSM's delay."""
    if delay:
        only_for_counts = {
            "--coverage": coverage,
            "--max-miou-drop": max_miou_drop,
            "--macs": macs,
            "--latency-ms": latency_ms,
            "--latency-table": latency_table,
            "--split": split,
            "--threshold": threshold,
            "--limit": limit,
            "--reduce-zero-label": reduce_zero_label or None,
            "--restart": restart or None,
        }
        given = [name for name, value in only_for_counts.items() if value is not None]
        if given:
            raise UsageError(given[0], "is not for --delay", f"leave out {given[0]} or --delay")
        _calibrate_delay(recipe, data, checkpoint, cfg_options or [], out_dir, json_output)
        return
    from edgeexport.calibration.counts_command import calibrate_counts
    from edgeexport.terminal.calibration import passes_shown, print_counts

    with passes_shown("what was measured is kept, and the same command goes on from there") as on_progress:
        found = calibrate_counts(
            recipe,
            data=data,
            split=split,
            coverage=coverage,
            max_miou_drop=max_miou_drop,
            macs=macs,
            latency_ms=latency_ms,
            latency_table=latency_table,
            threshold=threshold,
            checkpoint=checkpoint,
            cfg_options=cfg_options or [],
            limit=limit,
            reduce_zero_label=reduce_zero_label,
            out_dir=out_dir,
            restart=restart,
            on_progress=on_progress,
            on_note=print_note,
        )
    emit(json_output, found.as_dict(), lambda: print_counts(found))


def _calibrate_delay(
    recipe: str,
    data: Path | None,
    checkpoint: Path | None,
    cfg_options: list[str],
    out_dir: Path | None,
    json_output: bool,
) -> None:
    from edgeexport.calibration.delay_command import calibrate_delay
    from edgeexport.terminal.results import print_delay

    with stages_shown() as on_stage:
        found = calibrate_delay(
            recipe, data=data, checkpoint=checkpoint, cfg_options=cfg_options, out_dir=out_dir, on_stage=on_stage
        )
    emit(json_output, found.as_dict(), lambda: print_delay(found))
