"""What evaluation and calibration ask of a recipe's segmenter: its classes, and after which blocks it can prune. No torch."""

from __future__ import annotations

from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.recipe.schema import Recipe

__all__ = ["class_count", "final_blocks", "is_segmenter", "stated_thresholds"]


def is_segmenter(recipe: Recipe) -> bool:
    """Whether the recipe's model gives class maps, and has the stages at which tokens are shared and pruned."""
    return isinstance(recipe.model, SegVitSpec)


def class_count(recipe: Recipe) -> int:
    """K, of a segmenter."""
    return recipe.segvit.decode_head.num_classes


def stated_thresholds(recipe: Recipe) -> dict[int, float | None]:
    """Block -> the threshold that the auxiliary head after it states (None: none), for every such head of a segmenter."""
    return {head.stages[0]: head.threshold for head in recipe.segvit.auxiliary_heads}


def final_blocks(recipe: Recipe) -> tuple[int, ...]:
    """The blocks that a segmenter's final head reads."""
    return recipe.segvit.decode_head.stages
