"""Merge schedule: how many tokens merge in every block of a recipe's fixed form, and which may merge with which.

Everything is known before any weight is loaded: counts depend on the recipe alone, only the choice of tokens depends on
the image. Token counts are per image and include prefix tokens (class, distillation, register), block numbers are
1-based.

ToMe asks for r tokens in every block ("Token Merging: Your ViT But Faster", section 3); a block that cannot merge as many
merges what it can, and the schedule tells both figures.

DSM ("Training-Free Acceleration of ViTs with Delayed Spatial Merging", section 3) lets the first D blocks merge nothing.
Then tokens merge inside windows of the token grid, of w x w tokens in the first merging block and larger by a constant in
every block after it, until one window holds the whole grid; from there on it is ToMe. What the paper leaves open is
decided here as follows:

- prefix tokens stay outside the windows and never merge;
- the window grows with every block after the delay, also past a block that merges nothing;
- a block's r is shared out over its windows in proportion to the tokens that they hold (largest remainder, at most half
  of a window's tokens; see `edgeexport.ops.match_tables`);
- windows that reach over the right or lower edge of the grid are padded, and padding is no token: neither source nor
  destination, of size 0, and not carried on;
- after a windowed merge the n tokens that are left, prefix apart, stand in ascending order of their index and are laid out
  anew, row by row, in ceil(sqrt(n)) columns; the last row may be partial.

Imports no torch: `edgeexport inspect` and the reports run where the bundle runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeexport.fixed.schedule import token_schedule
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.ops.match_tables import MatchLayout, largest_r
from edgeexport.recipe.schema import MergeSpec, Recipe

__all__ = ["MergeSchedule", "MergeStep", "merge_schedule"]


@dataclass(frozen=True)
class MergeStep:
    """What one block merges.

    Attributes:
        block: 1-based.
        tokens_in: N, tokens that enter the block, prefix included.
        requested: Tokens that the recipe asks to merge here; 0 in blocks that DSM's delay passes over.
        r: Tokens that merge: ``requested``, as far as the block's tokens allow.
        tokens_out: Tokens that leave the block: N - r, or N where they are unmerged at the end of it.
        layout: Which tokens may merge with which; None where nothing merges.
        raster: The tokens stand in ascending order of their index afterwards, for the next block's windows.
    """

    block: int
    tokens_in: int
    requested: int
    r: int
    tokens_out: int
    layout: MatchLayout | None
    raster: bool

    @property
    def merged_tokens(self) -> int:
        """Tokens at work after merging, whether or not they are unmerged later."""
        return self.tokens_in - self.r

    @property
    def reason(self) -> str:
        """Why the count changes, for people; empty where nothing was asked for."""
        if not self.requested:
            return ""
        text = f"merged {self.r}"
        if self.r != self.requested:
            text += f" (of {self.requested} asked)"
        if self.layout is not None and self.layout.kind == "windows":
            text = f"window {self.layout.window}: {text}"
        return f"{text}, unmerged after" if self.r and self.tokens_out == self.tokens_in else text


@dataclass(frozen=True)
class MergeSchedule:
    """Every merge of a recipe's fixed form, per image.

    Attributes:
        prefix: Tokens ahead of the patches, which never merge.
        grid: The patches of the image: (time steps,) rows, columns.
        steps: One per executed block.
    """

    prefix: int
    grid: tuple[int, ...]
    steps: tuple[MergeStep, ...]

    @property
    def merging(self) -> tuple[MergeStep, ...]:
        """The steps that merge anything."""
        return tuple(step for step in self.steps if step.r)

    @property
    def tokens_in(self) -> int:
        """Tokens that enter block 1, prefix included."""
        return self.steps[0].tokens_in

    @property
    def tokens_out(self) -> int:
        """Tokens that leave the last block, prefix included."""
        return self.steps[-1].tokens_out


def merge_schedule(recipe: Recipe) -> MergeSchedule:
    """Computes what every block merges; for a recipe without merging, steps that merge nothing.

    Raises:
        RecipeError: Image, S or k of a segmenter do not fit (see `token_schedule`).
    """
    model = recipe.model
    merge = recipe.reduction.merge or MergeSpec("tome", ())
    if isinstance(model, SegVitSpec):
        tokens = token_schedule(recipe)
        counts = [block.tokens_in + tokens.num_prefix for block in tokens.blocks]
        return _dense_schedule(merge, tokens.num_prefix, tokens.grid, counts)
    if isinstance(model, SdBlockSpec):
        return _dense_schedule(merge, 0, model.grid, [math.prod(model.grid)])
    return _reducing_schedule(merge, model)


def _dense_schedule(merge: MergeSpec, prefix: int, grid: tuple[int, ...], counts: list[int]) -> MergeSchedule:
    """Blocks that return as many tokens as they take: ``counts`` of them, by block."""
    kind, columns = ("cells", grid[-1]) if merge.dense == "sd" else ("alternate", 0)
    steps = []
    for block, tokens in enumerate(counts, start=1):
        requested = _requested(merge, block)
        r = min(requested, largest_r(kind, tokens, prefix, columns)) if requested else 0
        layout = MatchLayout(kind, tokens, prefix, r, columns) if r else None
        steps.append(MergeStep(block, tokens, requested, r, tokens, layout, raster=False))
    return MergeSchedule(prefix, grid, tuple(steps))


def _reducing_schedule(merge: MergeSpec, model: TimmVitSpec) -> MergeSchedule:
    """ToMe and DSM on a classifier: every block hands on what it left."""
    prefix, tokens, columns = model.num_prefix, model.num_tokens, model.grid[-1]
    windowed = merge.window is not None
    steps = []
    for block in range(1, model.num_layers + 1):
        requested = _requested(merge, block)
        kind, width, side = "alternate", 0, 0
        if windowed and merge.window is not None and block > merge.delay:
            side = merge.window + merge.growth * (block - merge.delay - 1)
            rows = -(-(tokens - prefix) // columns)
            if side < max(rows, columns):
                kind, width = "windows", columns
            else:
                windowed, side = False, 0  # for good: a global merge leaves no raster order
        r = min(requested, largest_r(kind, tokens, prefix, width, side)) if requested else 0
        layout = MatchLayout(kind, tokens, prefix, r, width, side) if r else None
        raster = layout is not None and kind == "windows"
        steps.append(MergeStep(block, tokens, requested, r, tokens - r, layout, raster))
        tokens -= r
        if raster:
            columns = math.isqrt(tokens - prefix - 1) + 1  # ceil(sqrt), exactly; a merge leaves at least one token
    return MergeSchedule(prefix, model.grid, tuple(steps))


def _requested(merge: MergeSpec, block: int) -> int:
    return merge.r[block - 1] if merge.delay < block <= len(merge.r) else 0
