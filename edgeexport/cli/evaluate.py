"""``edgeexport evaluate``: accuracy on a user's labelled images. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import (
    CfgOptions,
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
from edgeexport.terminal.output import emit, images_shown, print_note, told_at_once

__all__ = ["evaluate"]


def evaluate(
    subject: Annotated[
        str,
        typer.Argument(help="A bundle folder, or a recipe of a segmenter; with --against of any model, or timm:NAME."),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with images/ and annotations/, or img_dir/ and ann_dir/; with --against of images, or of a folder "
            "of images for each class."
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="dense|BUNDLE",
            help="Compare outputs image by image instead, with the dense model of the same weights, or another bundle's.",
        ),
    ] = None,
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
    policy_every: Annotated[
        list[int] | None,
        typer.Option(
            help="Bundle with a policy network of its own: also with its choice kept for N images of a folder; repeatable.",
            min=1,
            max=4096,
        ),
    ] = None,
    tome: TomeOption = None,
    dsm: DsmOption = None,
    random: RandomOption = None,
    cfg_options: CfgOptions = None,
    limit: LimitOption = None,
    image_suffix: ImageSuffixOption = None,
    label_suffix: LabelSuffixOption = None,
    reduce_zero_label: ReduceZeroLabelFlag = None,
    out_dir: Annotated[Path | None, typer.Option(help="Where files go; evaluation/<name> by default.")] = None,
    restart: RestartFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Measure mIoU, pixel accuracy, tokens and work on labelled images, in every form in reach; or with --against what a
    model's features, embedding and logits keep of the dense model's, and accuracy by class folder.
    """
    told_at_once("load what evaluates")
    if against is not None:
        misplaced = {"--split": split, "--form": form, "--reduce-zero-label": reduce_zero_label}
        misplaced |= {"--image-suffix": image_suffix, "--label-suffix": label_suffix}
        if named := [option for option, value in misplaced.items() if value]:
            raise UsageError(
                ", ".join(named), "belongs to labelled segmentation", "leave it out, or leave --against out"
            )
        from edgeexport.commands.evaluate_against import evaluate_against
        from edgeexport.evaluation.against import AgainstOptions
        from edgeexport.terminal.fidelity import print_fidelity

        with images_shown("what was measured is kept, and the same command goes on from there") as on_progress:
            fidelity = evaluate_against(
                subject,
                against,
                AgainstOptions(data, limit, out_dir, restart),
                checkpoint=checkpoint,
                policy_checkpoint=policy_checkpoint,
                cfg_options=recipe_options(cfg_options, tome=tome, dsm=dsm, random=random),
                on_progress=on_progress,
                on_note=print_note,
            )
        emit(json_output, fidelity.as_dict(), lambda: print_fidelity(fidelity))
        return
    from edgeexport.evaluation.evaluate import evaluate as evaluate_segmenter
    from edgeexport.evaluation.options import EvaluationOptions
    from edgeexport.terminal.evaluation import print_evaluation

    options = EvaluationOptions(
        data=data,
        split=split,
        executions=tuple(form or ()),
        checkpoint=checkpoint,
        policy_checkpoint=policy_checkpoint,
        policy_every=tuple(policy_every or ()),
        cfg_options=recipe_options(cfg_options, tome=tome, dsm=dsm, random=random),
        limit=limit,
        image_suffix=image_suffix,
        label_suffix=label_suffix,
        reduce_zero_label=reduce_zero_label,
        out_dir=out_dir,
        restart=restart,
    )
    with images_shown("what was measured is kept, and the same command goes on from there") as on_progress:
        evaluation = evaluate_segmenter(subject, options, on_progress=on_progress, on_note=print_note)
    emit(json_output, evaluation.as_dict(), lambda: print_evaluation(evaluation))
