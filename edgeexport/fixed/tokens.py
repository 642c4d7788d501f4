"""tokens.json of any recipe: token schedule and multiply-accumulates, by the family of its model."""

from __future__ import annotations

from edgeexport.fixed import accounting, merge_accounting
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.recipe.schema import Recipe

__all__ = ["tokens_json"]


def tokens_json(recipe: Recipe) -> dict[str, object]:
    """Returns the content of a bundle's tokens.json (schema `edgeexport.fixed.model_macs.TOKENS_SCHEMA`).

    Raises:
        RecipeError: The token counts do not fit the model.
    """
    if isinstance(recipe.model, SegVitSpec):
        return accounting.tokens_json(recipe)
    return merge_accounting.tokens_json(recipe)
