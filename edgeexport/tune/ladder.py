"""Candidates of each way, from the most tokens to the fewest; of counts that cost the same the largest is the candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeexport.calibration.merging_settings import MergingCosts, MergingSetting
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe
from edgeexport.tune.form import Form, recipe_of_form

__all__ = ["SAME", "Ladder", "Step", "form_of_setting", "merging_ladder", "plateaus"]

SAME = 0.005
"""A difference in cost of less than this share is none."""

_FEWEST = 0.25
_MOST_STEPS = 200


@dataclass(frozen=True)
class Step:
    """A candidate.

    Attributes:
        form: Of the largest count of its plateau.
        tokens_out: That leave the last block, per image.
        cost: Predicted ms, or multiply-accumulates, per image.
        counts: How many counts cost the same; 1: it stands alone.
    """

    form: Form
    tokens_out: int
    cost: float
    counts: int = 1


@dataclass(frozen=True)
class Ladder:
    """One way's candidates, tokens descending; every step costs less than the one before."""

    way: str
    steps: tuple[Step, ...]
    every: tuple[Step, ...]


def merging_ladder(
    dense: Recipe, setting: MergingSetting, costs: MergingCosts, cost: Callable[[Recipe], float]
) -> Ladder:
    """From one token merged per block on, to where a quarter of the tokens is left.

    Args:
        dense: Without reductions.
        setting: The method and its own options.
        costs: Of the dense recipe, in any unit: says how much can merge.
        cost: Of a recipe; what steps are told apart by.
    """
    blocks = costs.blocks(setting)
    most = blocks * costs.largest_r(setting)
    total = dense.facts.num_tokens
    stride = max(1, (most - blocks) // _MOST_STEPS)
    steps: list[Step] = []
    for merged in range(blocks, most + 1, stride):
        form = form_of_setting(dense, setting, merged)
        recipe = recipe_of_form(dense, form)
        left = token_schedule(recipe).blocks[-1].branches[-1].work
        if left < _FEWEST * total:
            break
        steps.append(Step(form, left, cost(recipe)))
    return Ladder(setting.name, plateaus(steps), tuple(steps))


def form_of_setting(dense: Recipe, setting: MergingSetting, merged: int) -> Form:
    """The form in which so many tokens merge over all blocks."""
    return Form.of(setting.name, {setting.method: setting.reduction(setting.r_of(merged, dense.facts))})


def plateaus(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps that cost clearly less than the one kept before them; each says how many counts it stands for.

    Args:
        steps: Tokens descending.
    """
    kept: list[Step] = []
    for step in steps:
        if kept and step.cost > kept[-1].cost * (1 - SAME):
            kept[-1] = Step(kept[-1].form, kept[-1].tokens_out, kept[-1].cost, kept[-1].counts + 1)
        else:
            kept.append(step)
    return tuple(kept)
