"""The counts that a calibration chooses from: a grid of S and k whose token counts suit the hardware."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from edgeexport.calibration.counts import Counts
from edgeexport.errors import UsageError
from edgeexport.evaluation.segmenter_spec import final_blocks, is_segmenter, stated_thresholds
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts_counts import aligned_window_counts

__all__ = ["ALIGN", "CountSpace", "space_from_recipe"]

ALIGN = 8
"""Token counts that matrix units like: multiples of this."""

_MOST_CANDIDATES = 7_000  # a search compares all with all
_NEIGHBOURS = (0.0, 0.5, 1.5)


@dataclass(frozen=True)
class CountSpace:
    """Candidate counts of one model; the dense model (nothing shared, nothing pruned) is among them.

    Attributes:
        num_patches: N, tokens of the dense model.
        align: Tokens left after sharing and after every stage are multiples of this, but where nothing left yet.
        shared: Candidate S, ascending from 0.
        stages: (block, candidate k ascending from 0), blocks ascending. Where N is no multiple of ``align``, the first thing
            that reduces takes N's remainder along: ``k + N % align``.
    """

    num_patches: int
    align: int
    shared: tuple[int, ...]
    stages: tuple[tuple[int, tuple[int, ...]], ...]

    @cached_property
    def candidates(self) -> tuple[Counts, ...]:
        """All combinations that leave a token, the dense model first."""
        axes = itertools.product(self.shared, *(values for _, values in self.stages))
        combinations = (self._realised(num_shared, pruned) for num_shared, *pruned in axes)
        return tuple(counts for counts in combinations if counts.tokens(self.num_patches)[-1] > 0)

    def neighbours(self, counts: Counts) -> tuple[Counts, ...]:
        """For each count that is not 0: none of it, about half and about one and a half times, the others as they are.

        Changes are multiples of ``align``, so that aligned counts stay aligned (three tokens go with every window); what
        leaves no token is left out. They show how quality changes with each count.
        """
        near: list[Counts] = []
        for factor in _NEIGHBOURS:
            changes = [Counts(self._scaled(counts.num_shared, factor), counts.prune)]
            for block, k in counts.prune:
                changes.append(Counts.of(counts.num_shared, {**dict(counts.prune), block: self._scaled(k, factor)}))
            for changed in changes:
                fits = changed.num_shared <= self.shared[-1] and changed.tokens(self.num_patches)[-1] > 0
                if fits and changed != counts and changed not in near:
                    near.append(changed)
        return tuple(near)

    def refined(self, around: Counts) -> CountSpace:
        """A finer space: on every axis the values between those beside ``around``'s, at most as many as there were.

        ``around`` and the dense model are in it.

        Args:
            around: One of ``candidates``.
        """
        windows = aligned_window_counts(self.num_patches, self.num_patches // 4, self.align)
        shared = _between(self.shared, around.num_shared, (0, *windows))
        multiples = range(0, self.num_patches, self.align)
        remainder = 0 if around.num_shared else self.num_patches % self.align
        stages = []
        for block, values in self.stages:
            k = around.pruned_after(block)
            if k:
                k, remainder = k - remainder, 0
            stages.append((block, _between(values, k, multiples)))
        return replace(self, shared=shared, stages=tuple(stages))

    def _scaled(self, count: int, factor: float) -> int:
        return max(count + self.align * round((factor - 1) * count / self.align), 0) if factor else 0

    def _realised(self, num_shared: int, pruned: Sequence[int]) -> Counts:
        prune, remainder = {}, 0 if num_shared else self.num_patches % self.align
        for (block, _), k in zip(self.stages, pruned, strict=True):
            if k:
                prune[block] = k + remainder
                remainder = 0
        return Counts.of(num_shared, prune)


def space_from_recipe(recipe: Recipe, align: int = ALIGN, values: int = 9) -> CountSpace:
    """The space of the reductions that a SegViT recipe uses; of all that its model can do, where it uses none.

    S is an axis where the recipe has CTS, whatever its count. k is one for every block that ``reduction.dtop.prune``
    names, zero counts included; for a recipe without any reduction, for every block that an auxiliary head reads.

    Args:
        recipe: Its own counts do not matter.
        align: What token counts should be multiples of.
        values: At most so many values on an axis; fewer where the space would exceed some thousand candidates.

    Raises:
        UsageError: The recipe's model has nothing to choose counts for.
        RecipeError: The input does not fit the model.
    """
    if not is_segmenter(recipe):
        raise UsageError(
            f"{recipe.path}: model", "shares and prunes no tokens", "give a SegViT recipe with CTS or auxiliary heads"
        )
    facts = recipe.facts
    patches = facts.num_patches
    blocks = _pruning_blocks(recipe)
    windows = aligned_window_counts(patches, _windows(recipe, (facts.grid[0], facts.grid[1])), align)
    if not blocks and not windows:
        raise UsageError(
            f"{recipe.path}: reduction",
            "has no CTS and the model no auxiliary PruneHead before its last block: there are no counts to choose",
            "give a recipe with cts or dtop",
        )
    per_axis = _values_per_axis(values, len(blocks) + bool(windows))
    shared = _spread((0, *windows), per_axis)
    pruned = _spread(range(0, patches, align), per_axis)
    return CountSpace(patches, align, shared, tuple((block, pruned) for block in blocks))


def _pruning_blocks(recipe: Recipe) -> tuple[int, ...]:
    """Blocks after which counts are to be chosen: those of the recipe's DToP, or all that have a head."""
    final = final_blocks(recipe)
    if len(final) > 1:
        return ()
    known = sorted(block for block in stated_thresholds(recipe) if block < final[0])
    dtop = recipe.reductions.get("dtop")
    if dtop is not None:
        named = {block for block, _ in dtop.prune}
        return tuple(block for block in known if block in named)
    return () if recipe.reductions else tuple(known)


def _windows(recipe: Recipe, grid: tuple[int, int]) -> int:
    """2x2 windows that may share a token; 0 without CTS or on a grid that has none."""
    if "cts" not in recipe.reductions or grid[0] % 2 or grid[1] % 2:
        return 0
    return grid[0] * grid[1] // 4


def _values_per_axis(values: int, axes: int) -> int:
    assert values >= 2, values
    return max(min(values, int(_MOST_CANDIDATES ** (1 / axes) + 1e-9)), 2)


def _spread(values: Sequence[int], count: int) -> tuple[int, ...]:
    """``count`` of the values, evenly spread, the first and the last among them; all where there are no more."""
    if len(values) <= count:
        return tuple(values)
    return tuple(values[round(index * (len(values) - 1) / (count - 1))] for index in range(count))


def _between(values: tuple[int, ...], value: int, fine: Sequence[int]) -> tuple[int, ...]:
    """0, ``value``, and of ``fine`` what lies between the neighbours of ``value`` in ``values``, evenly spread."""
    index = values.index(value)
    below, above = values[max(index - 1, 0)], values[min(index + 1, len(values) - 1)]
    inner = [candidate for candidate in fine if below < candidate < above]
    return tuple(sorted({0, value, *_spread(inner, max(len(values) - 2, 2))}))
