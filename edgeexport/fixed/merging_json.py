"""The ``merging`` entry of tokens.json: what a recipe asks to merge, and what each block really merges."""

from __future__ import annotations

from edgeexport.fixed.merge_schedule import merge_schedule
from edgeexport.recipe.schema import Recipe

__all__ = ["merging_json"]


def merging_json(recipe: Recipe) -> dict[str, object] | None:
    """``requested`` and ``realised`` hold one count per executed block; None for a recipe without merging.

    Raises:
        RecipeError: See `merge_schedule`.
    """
    merge = recipe.reduction.merge
    if merge is None:
        return None
    schedule = merge_schedule(recipe)
    settings: dict[str, object] = {
        "method": merge.method,
        "dense": merge.dense,
        "metric": merge.metric,
        "proportional_attention": merge.proportional_attention,
        "pool": merge.pool,
        "requested": [step.requested for step in schedule.steps],
        "realised": [step.r for step in schedule.steps],
        "windows": [step.layout.window if step.layout is not None else 0 for step in schedule.steps],
        "tokens_out": schedule.tokens_out,
    }
    if merge.method == "dsm":
        settings |= {"delay": merge.delay, "window": merge.window, "growth": merge.growth}
    return settings
