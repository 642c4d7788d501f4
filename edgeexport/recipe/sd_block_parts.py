"""The part of a recipe that a Stable-Diffusion block decides: tokens, merged around its branches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeexport.recipe.host_input_config import sd_block_input_from_config
from edgeexport.recipe.merge_config import REDUCTION_KEYS, MergeHost, merge_from_config, resolved_merge
from edgeexport.recipe.parts import NO_TAIL, RecipeParts, refuse_given
from edgeexport.recipe.place import Place
from edgeexport.recipe.schema import ReductionSpec
from edgeexport.recipe.sd_block_config import resolved_sd_block, sd_block_from_config
from edgeexport.recipe.values import choice, mapping

__all__ = ["sd_block_parts"]

_OUTPUTS = ("tokens",)


def sd_block_parts(config: Mapping[str, object], place: Place, folder: Path) -> RecipeParts:
    """Validates everything of ``config`` that depends on the model; ``folder`` is not needed here.

    Raises:
        RecipeError: See the functions called; or a key that only a model with classes has.
    """
    model = sd_block_from_config(config["model"], place.at("model"))
    size = sd_block_input_from_config(config["input"], place.at("input"), model)
    at = place.at("reduction")
    reduction = mapping({} if config.get("reduction") is None else config["reduction"], at, REDUCTION_KEYS)
    for key, method in (("cts", "CTS"), ("dtop", "DToP")):
        refuse_given(reduction.get(key), at.at(key), f"{method} is for SegViT; a diffusion block takes tome")
    host = MergeHost(name="a diffusion block", depth=1, grid=model.grid, variants=("sd",), pooling=None)
    merge = merge_from_config(reduction, at, host)
    output = choice(config.get("output", "tokens"), place.at("output"), _OUTPUTS)
    refuse_given(config.get("tail"), place.at("tail"), "a tail makes class maps, and the output is tokens")
    for key in ("classes", "palette"):
        refuse_given(config.get(key), place.at(key), "a diffusion block predicts no classes")
    return RecipeParts(
        model=model,
        input=size,
        output=output,
        reduction=ReductionSpec(merge=merge),
        tail=NO_TAIL,
        extra_outputs=("source", "size") if merge is not None and any(merge.r) else (),
        num_classes=0,
        palette=(),
        text={
            "model": resolved_sd_block(model),
            "reduction": {} if merge is None else resolved_merge(reduction, merge),
            "tail": None,
            "palette": None,
        },
    )
