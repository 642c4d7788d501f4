"""Tokens and multiply-accumulates that one image costs, with the counts that its own execution had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeexport.fixed.schedule import token_schedule
from edgeexport.fixed.tokens import account
from edgeexport.hosts.host import ExitTokens
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.dtop import DtopSpec

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
    schedule = reduced.schedule
    return ImageCost(tuple(block.working - schedule.facts.prefix for block in schedule.blocks), reduced.total)


def published_cost(recipe: Recipe, pruned: Mapping[int, int]) -> ImageCost:
    """The counts that thresholds led to.

    A stage that pruned nothing had to run its head to find that out, which the fixed form with count 0 saves. Where every
    token left (possible without protected tokens), one is counted as if it had stayed.

    Args:
        recipe: Whose own counts do not matter here.
        pruned: Every stage's block -> tokens that left after it, zero included.
    """
    dtop = recipe.reductions.get("dtop")
    if dtop is None:
        return fixed_cost(recipe)
    others = {key: spec for key, spec in recipe.reductions.items() if key != "dtop"}
    left = fixed_cost(replace(recipe, reductions=others)).tokens[0]
    counts = []
    for block, k in sorted(pruned.items()):
        if k := min(k, left - 1):
            counts.append((block, k))
            left -= k
    own = replace(recipe, reductions={**others, "dtop": DtopSpec(tuple(counts), dtop.protect_per_class)})
    cost, schedule = fixed_cost(own), token_schedule(own)
    looked = [ExitTokens(block, schedule.blocks[block - 1].tokens_in, 0) for block, k in pruned.items() if k == 0]
    heads = recipe.host.macs(recipe.model, recipe.input, schedule.embedded, schedule.blocks, looked).heads
    return ImageCost(cost.tokens, cost.macs + sum(head.macs for head in heads[: len(looked)]))


def cost_from_tokens_json(tokens: Mapping[str, Any]) -> ImageCost:
    """The counts of a bundle, from its tokens.json."""
    blocks = tokens["blocks"]
    merging = tokens["merging"]
    merged = merging["realised"] if merging else [0] * len(blocks)
    entering = (int(block["tokens_in"]) for block in blocks)
    working = tuple(count - r for count, r in zip(entering, merged, strict=True))
    return ImageCost(working, int(tokens["totals"]["macs"]))
