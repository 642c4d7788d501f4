"""The original model's recipe out of a bundle, held to what else the bundle says before any of it is built."""

from __future__ import annotations

from edgeexport.bundle import Bundle
from edgeexport.bundle.original import GivenWeights
from edgeexport.errors import BundleError, RecipeError
from edgeexport.fixed.tokens import account
from edgeexport.recipe.of_bundle import original_recipe
from edgeexport.recipe.schema import Recipe

__all__ = ["checked_recipe"]

_TIMES_LARGER = 4  # tokens.json of an earlier version may count a little otherwise
_REMEDY = "copy or build the bundle again"


def checked_recipe(bundle: Bundle, files: GivenWeights) -> Recipe:
    """`edgeexport.recipe.of_bundle.original_recipe`, of a model that is no larger than tokens.json says.

    Raises:
        BundleError: The manifest's recipe is none, or of another model than the bundle's (exit code 9).
    """
    where = f"{bundle.path / 'manifest.json'}: recipe"
    try:
        recipe = original_recipe(bundle, files)
        dense = account(recipe).dense.total
    except RecipeError as error:
        raise BundleError(where, f"{error.where}: {error.problem}", _REMEDY) from None
    if recipe.input.shape != bundle.input.shape:
        problem = f"has the input {list(recipe.input.shape)}, the graph {list(bundle.input.shape)}"
        raise BundleError(where, problem, _REMEDY)
    counted = bundle.json("tokens.json")["totals"]["dense_macs"]
    if dense > _TIMES_LARGER * counted:
        raise BundleError(where, f"has {dense} multiply-accumulates, tokens.json counts {counted}", _REMEDY)
    return recipe
