"""What recipes of timm hosts and diffusion blocks have in common: tokens merge, there is one output and no map of classes."""

from __future__ import annotations

from collections.abc import Mapping

from edgeexport.config.place import Place
from edgeexport.config.values import choice, mapping
from edgeexport.hosts.host import NO_TAIL, RecipeParts, refuse_given
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import ReductionSpec
from edgeexport.reductions.merge_config import REDUCTION_KEYS, MergeHost, merge_from_config, resolved_merge

__all__ = ["merge_parts"]


def merge_parts(
    config: Mapping[str, object],
    place: Place,
    host: MergeHost,
    *,
    takes: str,
    model: TimmVitSpec | SdBlockSpec,
    resolved_model: object,
    size: InputSpec,
    output: str,
    num_classes: int,
) -> RecipeParts:
    """Validates what a recipe says of reduction, output and tail, and joins it with the host's own part.

    With merging, ``extra_outputs`` may hold ``source`` (the final token of every first one) and ``size`` (how many
    patches every final token stands for).

    Args:
        config: The recipe.
        place: Where it stands, for messages.
        host: What of the model merging depends on.
        takes: The host and its methods, to stand behind 'CTS is for SegViT; '.
        model, size, num_classes: As validated.
        resolved_model: The entry ``model`` of the resolved recipe.
        output: The only one on offer.

    Raises:
        RecipeError: See the functions called; or a key that only a map of classes has.
    """
    at = place.at("reduction")
    reduction = mapping({} if config.get("reduction") is None else config["reduction"], at, REDUCTION_KEYS)
    for key, method in (("cts", "CTS"), ("dtop", "DToP")):
        refuse_given(reduction.get(key), at.at(key), f"{method} is for SegViT; {takes}")
    merge = merge_from_config(reduction, at, host)
    choice(config.get("output", output), place.at("output"), (output,))
    refuse_given(config.get("tail"), place.at("tail"), f"a tail makes class maps, and the output is {output}")
    refuse_given(config.get("palette"), place.at("palette"), "there is no map of classes to colour")
    return RecipeParts(
        model=model,
        input=size,
        output=output,
        reduction=ReductionSpec(merge=merge),
        tail=NO_TAIL,
        extra_outputs=("source", "size") if merge is not None and any(merge.r[merge.delay :]) else (),
        num_classes=num_classes,
        palette=(),
        text={
            "model": resolved_model,
            "reduction": {} if merge is None else resolved_merge(reduction, merge),
            "tail": None,
            "palette": None,
        },
    )
