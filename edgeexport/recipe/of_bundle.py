"""The recipe that a bundle was built from, again."""

from __future__ import annotations

import re
from typing import Any, cast

from edgeexport.bundle import Bundle
from edgeexport.bundle.original import GivenWeights
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config

__all__ = ["original_recipe"]


_BLOCK = re.compile(r"[0-9]{1,5}")


def original_recipe(bundle: Bundle, files: GivenWeights) -> Recipe:
    """The recipe of a bundle's manifest with the weights that were given.

    Raises:
        RecipeError: The manifest's recipe is none.
    """
    config: dict[str, Any] = _with_integer_blocks(cast(dict[str, Any], bundle.manifest["recipe"]))
    config["checkpoint"] = None
    if files.policy is not None:
        cts = {**config["reduction"]["cts"], "policy_checkpoint": str(files.policy.absolute())}
        config["reduction"] = {**config["reduction"], "cts": cts}
    return recipe_from_config(config, bundle.path.absolute() / "manifest.json", "", files.checkpoint)


def _with_integer_blocks(recipe: dict[str, Any]) -> dict[str, Any]:
    """JSON turns the block numbers of ``prune`` into strings; turns them back, without changing the argument."""
    result = dict(recipe)
    reduction = dict(result.get("reduction") or {})
    dtop = reduction.get("dtop")
    if dtop and isinstance(dtop.get("prune"), dict):
        prune = {int(block) if _BLOCK.fullmatch(block) else block: k for block, k in dtop["prune"].items()}
        reduction["dtop"] = {**dtop, "prune": prune}
    result["reduction"] = reduction
    return result
