"""Tokens and multiply-accumulates that one image costs, with the counts that its own execution had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeexport.cost.macs import prune_head_macs
from edgeexport.fixed.accounting import account
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import DtopSpec, Recipe

__all__ = ["ImageCost", "cost_from_tokens_json", "fixed_cost", "published_cost"]


@dataclass(frozen=True)
class ImageCost:
    """What one image costs.

    Attributes:
        tokens: Patch tokens that each executed block works on: those that enter it, less those merged inside it.
        macs: Multiply-accumulates of everything that runs, policy network included (see `edgeexport.cost.macs`).
    """

    tokens: tuple[int, ...]
    macs: int


def fixed_cost(recipe: Recipe) -> ImageCost:
    """The recipe's constant counts."""
    reduced = account(recipe).reduced
    merged = (step.r for step in reduced.merging.steps)
    blocks = reduced.schedule.blocks
    tokens = tuple(block.tokens_in - r for block, r in zip(blocks, merged, strict=True))
    return ImageCost(tokens, reduced.total)


def published_cost(recipe: Recipe, pruned: Mapping[int, int]) -> ImageCost:
    """The counts that thresholds led to.

    A stage that pruned nothing had to run its head to find that out, which the fixed form with count 0 saves. Where every
    token left (possible without protected tokens), one is counted as if it had stayed.

    Args:
        recipe: Whose own counts do not matter here.
        pruned: Every stage's block -> tokens that left after it, zero included.
    """
    dtop = recipe.reduction.dtop
    if dtop is None:
        return fixed_cost(recipe)
    left = fixed_cost(replace(recipe, reduction=replace(recipe.reduction, dtop=None))).tokens[0]
    counts = []
    for block, k in sorted(pruned.items()):
        if k := min(k, left - 1):
            counts.append((block, k))
            left -= k
    own = replace(recipe, reduction=replace(recipe.reduction, dtop=DtopSpec(tuple(counts), dtop.protect_per_class)))
    cost = fixed_cost(own)
    entering = {block.block: block.tokens_in for block in token_schedule(own).blocks}
    idle = 0
    for head in recipe.segvit.auxiliary_heads:
        block = head.stages[0]
        if pruned.get(block) == 0:
            idle += prune_head_macs(entering[block], head.in_channels, head.width, head.num_layers, head.num_classes)
    return ImageCost(cost.tokens, cost.macs + idle)


def cost_from_tokens_json(tokens: Mapping[str, Any]) -> ImageCost:
    """The counts of a bundle, from its tokens.json."""
    blocks = tokens["blocks"]
    merging = tokens["merging"]
    merged = merging["realised"] if merging else [0] * len(blocks)
    entering = (int(block["tokens_in"]) for block in blocks)
    working = tuple(count - r for count, r in zip(entering, merged, strict=True))
    return ImageCost(working, int(tokens["totals"]["macs"]))
