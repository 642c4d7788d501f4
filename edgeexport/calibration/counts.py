"""The constants that a fixed SegViT needs: S shared windows and k tokens pruned after each block.

They are realised counts: what the token schedule executes after CTS's alignment, without stages that prune nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.reductions.cts import CtsSpec
from edgeexport.reductions.dtop import DtopSpec

__all__ = ["Counts", "counts_from_recipe", "protected_per_class", "recipe_with_counts"]

_PROTECT_PER_CLASS = 5  # a recipe's default, for a recipe that names no DToP of its own


@dataclass(frozen=True)
class Counts:
    """S and k of one fixed form, per image; hashable, so that results can be kept by it.

    Attributes:
        num_shared: S, 2x2 windows that share a token each; 0: no CTS.
        prune: (block, tokens that leave after it), blocks 1-based and ascending, counts at least 1.
    """

    num_shared: int = 0
    prune: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.num_shared < 0 or any(k < 1 for _, k in self.prune):
            raise ValueError(f"counts are negative, or a stage prunes nothing: {self}; see Counts.of")
        if any(first[0] >= second[0] for first, second in pairwise(self.prune)):
            raise ValueError(f"blocks are not ascending: {self}; see Counts.of")

    @classmethod
    def of(cls, num_shared: int, prune: Mapping[int, int]) -> Counts:
        """From block -> k in any order, zero counts included."""
        return cls(num_shared, tuple(sorted((block, k) for block, k in prune.items() if k)))

    def pruned_after(self, block: int) -> int:
        """k of a block; 0 where it is no stage."""
        return dict(self.prune).get(block, 0)

    def tokens(self, num_patches: int) -> tuple[int, ...]:
        """Tokens left after sharing, and after each stage in turn: n0, n0 - k1, n0 - k1 - k2, ..."""
        left = [num_patches - 3 * self.num_shared]
        for _, k in self.prune:
            left.append(left[-1] - k)
        return tuple(left)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; JSON turns the blocks into strings, which `from_dict` turns back."""
        return {"num_shared": self.num_shared, "prune": {str(block): k for block, k in self.prune}}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Counts:
        """The inverse of `as_dict`."""
        return cls.of(int(stored["num_shared"]), {int(block): int(k) for block, k in stored["prune"].items()})


def counts_from_recipe(recipe: Recipe) -> Counts:
    """The counts that a SegViT recipe's fixed form executes.

    Raises:
        RecipeError: They do not fit the model.
    """
    schedule = token_schedule(recipe)
    shared = sum(change.shared for change in schedule.changes.get("cts", ()))
    return Counts(shared, tuple((leaving.block, leaving.pruned) for leaving in schedule.exits))


def protected_per_class(recipe: Recipe) -> int:
    """Tokens of each predicted class that leave last; a recipe's default where it names no DToP."""
    dtop = recipe.reductions.get("dtop")
    return _PROTECT_PER_CLASS if dtop is None else dtop.protect_per_class


def recipe_with_counts(recipe: Recipe, counts: Counts) -> Recipe:
    """A SegViT recipe with other counts; without CTS where they share nothing, without DToP where no stage prunes.

    ``protect_per_class`` and ``policy_checkpoint`` are kept. Extra outputs of a stage that is gone go with it. ``text``
    stays as the recipe's file gave it.
    """
    given = recipe.reductions.get("cts")
    reductions: dict[str, Any] = {}
    if counts.num_shared:
        checkpoint = None if given is None else given.policy_checkpoint
        reductions["cts"] = CtsSpec(counts.num_shared, 1, checkpoint)  # aligned to 1: exactly so many windows
    if counts.prune:
        reductions["dtop"] = DtopSpec(counts.prune, protected_per_class(recipe))
    changed = replace(recipe, reductions=reductions)
    schedule = token_schedule(changed)
    available = [*recipe.host.extra_outputs(recipe.model, recipe.output, recipe.tail)]
    for key, spec in reductions.items():
        available += REDUCTIONS[key].extra_outputs(spec, schedule.facts, schedule.changes[key])
    extra = tuple(name for name in recipe.extra_outputs if name in available)
    return replace(changed, extra_outputs=extra)
