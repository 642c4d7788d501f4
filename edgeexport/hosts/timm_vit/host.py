"""The part of a recipe that a timm ViT decides: logits, with tokens merged by ToMe or DSM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeexport.config.place import Place
from edgeexport.hosts.host import RecipeParts
from edgeexport.hosts.host_input_config import timm_input_from_config
from edgeexport.hosts.timm_vit.config import resolved_timm_model, timm_from_config
from edgeexport.recipe.merge_parts import merge_parts
from edgeexport.reductions.merge_config import MergeHost

__all__ = ["timm_parts"]


def timm_parts(config: Mapping[str, object], place: Place, folder: Path) -> RecipeParts:
    """Validates everything of ``config`` that depends on the model; ``folder`` is not needed here.

    Raises:
        RecipeError: See the functions called; or a key that only a map of classes has.
    """
    given = config["model"]
    model = timm_from_config(given, place.at("model"))
    assert isinstance(given, dict)  # as validated
    size = timm_input_from_config(config["input"], place.at("input"), model)
    return merge_parts(
        config,
        place,
        MergeHost(name="a classifier", depth=model.num_layers, grid=model.grid, variants=(), pooling=model.global_pool),
        takes="a timm ViT takes tome or dsm",
        model=model,
        resolved_model=resolved_timm_model(given, model),
        size=size,
        output="logits",
        num_classes=model.num_classes,
    )
