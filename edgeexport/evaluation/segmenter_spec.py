"""What evaluation and calibration ask of a recipe's model when it segments images."""

from __future__ import annotations

from edgeexport.recipe.schema import Recipe

__all__ = ["class_count", "final_blocks", "is_segmenter", "stated_thresholds"]


def is_segmenter(recipe: Recipe) -> bool:
    """Whether the model gives a class for every pixel."""
    return "class_map" in recipe.host.outputs


def class_count(recipe: Recipe) -> int:
    """Classes that it tells apart."""
    return recipe.facts.num_classes


def stated_thresholds(recipe: Recipe) -> dict[int, float | None]:
    """Block -> theta of the head at which tokens may leave after it; None where its config states none."""
    return {leaving.block: leaving.threshold for leaving in recipe.facts.exits}


def final_blocks(recipe: Recipe) -> tuple[int, ...]:
    """1-based blocks that the final head reads, deepest first."""
    return recipe.facts.reads
