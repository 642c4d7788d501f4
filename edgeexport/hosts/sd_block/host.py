"""The part of a recipe that a Stable-Diffusion block decides: tokens, merged around its branches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeexport.config.place import Place
from edgeexport.hosts.host import RecipeParts, refuse_given
from edgeexport.hosts.host_input_config import sd_block_input_from_config
from edgeexport.hosts.sd_block.config import resolved_sd_block, sd_block_from_config
from edgeexport.recipe.merge_parts import merge_parts
from edgeexport.reductions.merge_config import MergeHost

__all__ = ["sd_block_parts"]


def sd_block_parts(config: Mapping[str, object], place: Place, folder: Path) -> RecipeParts:
    """Validates everything of ``config`` that depends on the model; ``folder`` is not needed here.

    Raises:
        RecipeError: See the functions called; or a key that only a model with classes has.
    """
    model = sd_block_from_config(config["model"], place.at("model"))
    size = sd_block_input_from_config(config["input"], place.at("input"), model)
    for key in ("classes", "palette"):
        refuse_given(config.get(key), place.at(key), "a diffusion block predicts no classes")
    return merge_parts(
        config,
        place,
        MergeHost(name="a diffusion block", depth=1, grid=model.grid, variants=("sd",), pooling=None),
        takes="a diffusion block takes tome",
        model=model,
        resolved_model=resolved_sd_block(model),
        size=size,
        output="tokens",
        num_classes=0,
    )
