"""The part of a recipe that a timm ViT decides: logits, with tokens merged by ToMe or DSM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeexport.recipe.host_input_config import timm_input_from_config
from edgeexport.recipe.merge_config import REDUCTION_KEYS, MergeHost, merge_from_config, resolved_merge
from edgeexport.recipe.parts import NO_TAIL, RecipeParts, refuse_given
from edgeexport.recipe.place import Place
from edgeexport.recipe.schema import MergeSpec, ReductionSpec
from edgeexport.recipe.timm_config import resolved_timm_model, timm_from_config
from edgeexport.recipe.values import choice, mapping

__all__ = ["timm_parts"]

_OUTPUTS = ("logits",)


def timm_parts(config: Mapping[str, object], place: Place, folder: Path) -> RecipeParts:
    """Validates everything of ``config`` that depends on the model; ``folder`` is not needed here.

    With merging, ``extra_outputs`` may hold ``source`` (the final token of every first one) and ``size`` (how many
    patches every final token stands for).

    Raises:
        RecipeError: See the functions called; or a key that only a map of classes has.
    """
    model = timm_from_config(config["model"], place.at("model"))
    size = timm_input_from_config(config["input"], place.at("input"), model)
    at = place.at("reduction")
    reduction = mapping({} if config.get("reduction") is None else config["reduction"], at, REDUCTION_KEYS)
    for key, method in (("cts", "CTS"), ("dtop", "DToP")):
        refuse_given(reduction.get(key), at.at(key), f"{method} is for SegViT; a timm ViT takes tome or dsm")
    host = MergeHost(
        name="a classifier", depth=model.num_layers, grid=model.grid, variants=(), pooling=model.global_pool
    )
    merge = merge_from_config(reduction, at, host)
    output = choice(config.get("output", "logits"), place.at("output"), _OUTPUTS)
    refuse_given(config.get("tail"), place.at("tail"), "a tail makes class maps, and the output is logits")
    refuse_given(config.get("palette"), place.at("palette"), "there is no map of classes to colour")
    given = config["model"]
    assert isinstance(given, dict)  # as validated
    return RecipeParts(
        model=model,
        input=size,
        output=output,
        reduction=ReductionSpec(merge=merge),
        tail=NO_TAIL,
        extra_outputs=("source", "size") if merge is not None and _merges(merge) else (),
        num_classes=model.num_classes,
        palette=(),
        text={
            "model": resolved_timm_model(given, model),
            "reduction": {} if merge is None else resolved_merge(reduction, merge),
            "tail": None,
            "palette": None,
        },
    )


def _merges(merge: MergeSpec) -> bool:
    return any(merge.r[merge.delay :])
