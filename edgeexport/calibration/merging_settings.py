"""Ways of merging to choose from, and what each costs with how many tokens merged: nothing here runs a model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeexport.calibration.cost import CostModel
from edgeexport.errors import RecipeError
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["FLOOR", "MergingCosts", "MergingSetting", "delays_to_try", "settings_to_try"]

FLOOR = "random"


@dataclass(frozen=True)
class MergingSetting:
    """A method with everything that decides but r.

    Attributes:
        method: Of the recipe's ``reduction``.
        options: (key, value) of its own that differ from one setting to another.
        delay: Blocks at the start that merge nothing.
    """

    method: str
    options: tuple[tuple[str, Any], ...] = ()
    delay: int = 0

    @property
    def name(self) -> str:
        """For people: 'dsm delay=2 window=7'."""
        return " ".join([self.method, *(f"{key}={value}" for key, value in self.options)])

    @property
    def folder(self) -> str:
        """The same as part of a file's name."""
        return "_".join([self.method, *(f"{key}{value}" for key, value in self.options)])

    def r_of(self, merged: int, facts: HostFacts) -> int | tuple[int, ...]:
        """``merged`` tokens over the blocks that merge: the same in each, or one more in the first of them.

        Returns:
            One r for all blocks where it comes out even, else one per block of the model.
        """
        blocks = facts.executed - self.delay
        each, more = divmod(merged, blocks)
        if not more:
            return each
        counts = [0] * self.delay + [each + 1] * more + [each] * (blocks - more)
        return (*counts, *[0] * (facts.depth - len(counts)))

    def reduction(self, r: int | Sequence[int]) -> dict[str, Any]:
        """The method's entry in a recipe."""
        return {"r": r if isinstance(r, int) else list(r), **dict(self.options)}


def settings_to_try(facts: HostFacts, delays: Sequence[int]) -> tuple[MergingSetting, ...]:
    """ToMe, and DSM with every delay, each with windows and without; without both it is ToMe, and stands there once.

    On a host with rotary positions ToMe also by the mean of the rotations that a token stands for.
    """
    side = min(facts.grid)
    windows: list[int | None] = [None] if len(facts.grid) != 2 or side < 2 else [min(7, side), None]
    dsm = [
        MergingSetting("dsm", (("delay", delay), ("window", window)), delay)
        for delay in delays
        for window in windows
        if delay or window
    ]
    tome = [MergingSetting("tome"), *([MergingSetting("tome", (("rope", "mean"),))] if facts.rotary else [])]
    return (*tome, *dsm)


def delays_to_try(facts: HostFacts, by_similarity: int | None) -> tuple[int, ...]:
    """None, a sixth of the blocks (the default), a third, and what the similarity of tokens proposes; ascending."""
    found = {0, round(facts.depth / 6), round(facts.depth / 3)} | (set() if by_similarity is None else {by_similarity})
    return tuple(sorted(delay for delay in found if delay < facts.executed))


@dataclass(frozen=True)
class MergingCosts:
    """Cost of a dense recipe with any setting, by the number of tokens that merge.

    Attributes:
        dense: Without reduction.
        model: What costs are counted by.
    """

    dense: Recipe
    model: CostModel
    _kept: dict[tuple[MergingSetting, int], float | None] = field(default_factory=dict)

    @property
    def of_dense(self) -> float:
        """The dense model's cost."""
        return self.model.cost(self.dense)

    def recipe(self, setting: MergingSetting, merged: int) -> Recipe:
        """The recipe's fixed form, for accounts alone: its ``text`` is the dense one's.

        Raises:
            RecipeError: The model does not take it.
        """
        facts, method = self.dense.facts, setting.method
        value = setting.reduction(setting.r_of(merged, facts))
        place, folder = self.dense.place_of(method), self.dense.path.parent
        if reason := REDUCTIONS[method].refuses(facts):
            raise place.error(value, reason, "use another method")
        spec = REDUCTIONS[method].spec_from_config(value, place, facts, facts.num_tokens, folder)
        return replace(self.dense, reductions={} if spec is None else {method: spec})

    def cost(self, setting: MergingSetting, merged: int) -> float | None:
        """None where the model does not take it."""
        key = (setting, merged)
        if key not in self._kept:
            self._kept[key] = None
            with contextlib.suppress(RecipeError):
                self._kept[key] = self.model.cost(self.recipe(setting, merged))
        return self._kept[key]

    def blocks(self, setting: MergingSetting) -> int:
        """How many merge: tokens that merge are counted from one in each of them on."""
        return self.dense.facts.executed - setting.delay

    def largest_r(self, setting: MergingSetting) -> int:
        """The largest r in every block from which on a larger one changes nothing, or is not taken; 0 where none is."""
        blocks = self.blocks(setting)

        def changes(r: int) -> bool:
            here, before = self.cost(setting, r * blocks), self.cost(setting, (r - 1) * blocks)
            return here is not None and (r == 1 or here != before)

        return _last(changes, 0, self.dense.facts.num_tokens)

    def within(self, setting: MergingSetting, budget: float) -> int | None:
        """The fewest tokens merged at which the cost is at most ``budget``; None where it never is."""
        first, last = self.blocks(setting), self.blocks(setting) * self.largest_r(setting)
        dearer = _last(lambda merged: _more(self.cost(setting, merged), budget), first - 1, last + 1)
        return dearer + 1 if dearer < last else None

    def nearest(self, setting: MergingSetting, cost: float) -> int | None:
        """Tokens merged at which the cost is nearest to ``cost``; None where the model does not take the method."""
        first, last = self.blocks(setting), self.blocks(setting) * self.largest_r(setting)
        dearer = _last(lambda merged: _more(self.cost(setting, merged), cost), first - 1, last + 1)
        near = {merged: own for merged in (dearer, dearer + 1) if (own := self._inside(setting, merged, first, last))}
        return min(near, key=lambda merged: abs(near[merged] - cost)) if near else None

    def least(self, settings: Sequence[MergingSetting]) -> Mapping[MergingSetting, float]:
        """What each costs with as many tokens merged as it can."""
        found: dict[MergingSetting, float] = {}
        for setting in settings:
            cost = self.cost(setting, self.blocks(setting) * self.largest_r(setting))
            if cost is not None and self.largest_r(setting):
                found[setting] = cost
        return found

    def _inside(self, setting: MergingSetting, merged: int, first: int, last: int) -> float | None:
        return self.cost(setting, merged) if first <= merged <= last else None


def _more(cost: float | None, budget: float) -> bool:
    return cost is not None and cost > budget


def _last(holds: Callable[[int], bool], last: int, beyond: int) -> int:
    """The largest number above ``last`` and below ``beyond`` that holds, by halving; ``last`` where none does."""
    while beyond - last > 1:
        middle = (last + beyond) // 2
        last, beyond = (middle, beyond) if holds(middle) else (last, middle)
    return last
