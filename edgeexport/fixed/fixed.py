"""The fixed form of any model that a recipe can hold."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgeexport.fixed.fixed_merge_vit import FixedMergeVit
from edgeexport.fixed.fixed_sd_block import FixedSdBlock
from edgeexport.fixed.fixed_segvit import FixedSegVit
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.recipe.schema import Recipe

__all__ = ["FixedModel", "fixed_from_model"]

FixedModel = FixedSegVit | FixedMergeVit | FixedSdBlock
"""What export and verification take. All have ``recipe``, ``grid``, ``patch_size``, ``num_shared``, ``prune``, ``steps``,
``input_names``, ``output_names``, ``decisions``, ``example_inputs``, ``trace`` and ``outputs_of``."""

_FORMS: dict[type, Any] = {SegVitSpec: FixedSegVit, TimmVitSpec: FixedMergeVit, SdBlockSpec: FixedSdBlock}


def fixed_from_model(model: nn.Module, recipe: Recipe) -> FixedModel:
    """The fixed form of ``model``, in eval mode.

    Args:
        model: What `edgeexport.fixed.weights.model_from_recipe` returned.
        recipe: The recipe that it was built from.

    Raises:
        RecipeError: The recipe's counts do not fit the model.
    """
    return _FORMS[type(recipe.model)](model, recipe).eval()
