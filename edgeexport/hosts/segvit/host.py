"""The part of a recipe that SegViT decides: class maps or scores, with CTS, DToP, or merging around its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeexport.config.labels import palette_from_config
from edgeexport.config.place import Place
from edgeexport.config.values import choice
from edgeexport.hosts.host import RecipeParts
from edgeexport.hosts.input_config import OUTPUTS, available_extra_outputs, input_from_config, tail_from_config
from edgeexport.hosts.segvit.config import check_test_mode, resolved_model, segvit_from_config
from edgeexport.recipe.reduction_config import reduction_from_config, side_multiple
from edgeexport.recipe.schema import ReductionSpec
from edgeexport.reductions.merge_config import resolved_merge

__all__ = ["segvit_parts"]


def segvit_parts(config: Mapping[str, object], place: Place, folder: Path) -> RecipeParts:
    """Validates everything of ``config`` that depends on the model, with file names relative to ``folder``.

    Raises:
        RecipeError: See the functions called.
        CheckpointError: The policy network's file is missing.
    """
    model = segvit_from_config(config["model"], place.at("model"))
    multiple, rule = side_multiple(config.get("reduction"), model.backbone.patch_size)
    size = input_from_config(config["input"], place.at("input"), multiple, rule)
    check_test_mode(config["model"], place.at("model").at("test_cfg"), size)
    reduction = reduction_from_config(config.get("reduction"), place.at("reduction"), model, size, folder)
    output = choice(config.get("output", "class_map"), place.at("output"), OUTPUTS)
    tail = tail_from_config(config.get("tail"), place.at("tail"), model)
    classes = config.get("classes")
    given = config["model"]
    assert isinstance(given, dict)  # as validated
    return RecipeParts(
        model=model,
        input=size,
        output=output,
        reduction=reduction,
        tail=tail,
        extra_outputs=available_extra_outputs(output, tail, reduction),
        num_classes=model.decode_head.num_classes,
        palette=palette_from_config(config.get("palette"), place.at("palette"), model.decode_head.num_classes, classes),
        text={
            "model": resolved_model(given, model),
            "reduction": _resolved_reduction(config.get("reduction"), reduction),
            "tail": {"form": tail.form, "candidates": tail.candidates},
            "palette": config.get("palette", classes if isinstance(classes, str) else None),
        },
    )


def _resolved_reduction(given: object, reduction: ReductionSpec) -> dict[str, object]:
    if not isinstance(given, dict):
        return {}
    resolved: dict[str, object] = {}
    cts, dtop, merge = reduction.cts, reduction.dtop, reduction.merge
    if cts is not None:
        given_cts = given.get("cts")
        policy = given_cts.get("policy_checkpoint") if isinstance(given_cts, dict) else None
        resolved["cts"] = {
            "num_shared": cts.num_shared,
            "align_tokens": cts.align_tokens,
            "policy_checkpoint": policy,
        }
    if dtop is not None:
        resolved["dtop"] = {"prune": dict(dtop.prune), "protect_per_class": dtop.protect_per_class}
    return resolved if merge is None else {**resolved, **resolved_merge(given, merge)}
