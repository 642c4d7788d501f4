"""Token schedule: how many tokens of an image enter and leave every block of a recipe's fixed form.

The adaptive methods let the image decide; the fixed form takes the counts from the recipe, so the whole schedule is
known before any weight is loaded. Token counts are per image, block numbers are 1-based.
Imports no torch: `edgeexport inspect` and the reports run where the bundle runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeexport.errors import RecipeError
from edgeexport.hosts.segvit.spec import HeadSpec
from edgeexport.recipe.schema import Recipe, ReductionSpec
from edgeexport.reductions.alignment import aligned_num_shared

__all__ = ["BlockTokens", "HeadTokens", "TokenSchedule", "dense_recipe", "token_schedule"]

_OUTPUTS_WITHOUT_REDUCTION = ("uncertified_pixels",)


@dataclass(frozen=True)
class BlockTokens:
    """Patch tokens entering block ``block`` and leaving it (after any pruning there), and why they differ.

    ``reason`` tells what changed the count on the way into or out of this block; empty where nothing did.
    """

    block: int
    tokens_in: int
    tokens_out: int
    reason: str


@dataclass(frozen=True)
class HeadTokens:
    """A head that the fixed form executes.

    ``name`` is the model's attribute path (``auxiliary_head.0``, ``decode_head``). ``blocks`` are the 1-based blocks
    it reads, deepest first; ``tokens`` the patch tokens it sees at each; ``pruned`` the tokens that leave after it.
    """

    name: str
    spec: HeadSpec
    blocks: tuple[int, ...]
    tokens: int
    pruned: int


@dataclass(frozen=True)
class TokenSchedule:
    """Every token count of a recipe's fixed form, per image.

    Attributes:
        grid: Patch grid (height, width).
        num_patches: Tokens of the dense model, ``grid[0] * grid[1]``.
        num_windows: 2x2 patch windows that could share a token; 0 without CTS.
        num_shared_requested: Shared windows that the recipe asks for.
        num_shared: Shared windows after alignment of the token count; every one saves three tokens.
        num_prefix: Class token (1) carried through the blocks beside the patch tokens, else 0.
        blocks: The executed blocks, 1..deepest block that a head reads.
        heads: The executed heads in order of depth; the final head is last.
    """

    grid: tuple[int, int]
    num_patches: int
    num_windows: int
    num_shared_requested: int
    num_shared: int
    num_prefix: int
    blocks: tuple[BlockTokens, ...]
    heads: tuple[HeadTokens, ...]

    @property
    def tokens_in(self) -> int:
        """Patch tokens that are embedded and enter block 1 (pixels are shared before the embedding)."""
        return self.blocks[0].tokens_in

    @property
    def tokens_out(self) -> int:
        """Patch tokens that reach the final head."""
        return self.blocks[-1].tokens_out


def dense_recipe(recipe: Recipe) -> Recipe:
    """Returns the same model, of any family, without token reduction: only the final head remains in its schedule.

    Of ``extra_outputs`` those go that tell what a reduction decided; only what the tail counts remains.
    """
    extra = tuple(name for name in recipe.extra_outputs if name in _OUTPUTS_WITHOUT_REDUCTION)
    return replace(recipe, reduction=ReductionSpec(), extra_outputs=extra)


def token_schedule(recipe: Recipe) -> TokenSchedule:
    """Computes the token counts of a SegViT recipe's fixed form.

    Tokens that merge inside a block and are unmerged after it do not show here; `merge_schedule` has them.

    A stage that prunes 0 tokens does not exist and neither does its head; ``num_shared`` of 0 means no sharing.

    Raises:
        RecipeError: Image, S or k do not fit the model (see the message).
    """
    grid = _patch_grid(recipe)
    num_patches = grid[0] * grid[1]
    requested, shared, windows = _shared_windows(recipe, grid)
    stages = _pruning_stages(recipe)
    final = recipe.segvit.decode_head
    depth = max(final.stages)

    tokens = num_patches - 3 * shared
    blocks: list[BlockTokens] = []
    heads: list[HeadTokens] = []
    for block in range(1, depth + 1):
        tokens_in, reasons = tokens, []
        if block == 1 and shared:
            reasons.append(f"shared {shared} windows")
        if block in stages:
            index, k = stages[block]
            _check_count(recipe, block, k, tokens)
            heads.append(
                HeadTokens(f"auxiliary_head.{index}", recipe.segvit.auxiliary_heads[index], (block,), tokens, k)
            )
            reasons.append(f"pruned {k} after block {block}")
            tokens -= k
        blocks.append(BlockTokens(block, tokens_in, tokens, "; ".join(reasons)))
    heads.append(HeadTokens("decode_head", final, final.stages, tokens, 0))
    return TokenSchedule(
        grid=grid,
        num_patches=num_patches,
        num_windows=windows,
        num_shared_requested=requested,
        num_shared=shared,
        num_prefix=int(recipe.segvit.backbone.with_cls_token),
        blocks=tuple(blocks),
        heads=tuple(heads),
    )


def _patch_grid(recipe: Recipe) -> tuple[int, int]:
    height, width, patch = recipe.input.height, recipe.input.width, recipe.segvit.backbone.patch_size
    if height < patch or width < patch or height % patch or width % patch:
        raise RecipeError(
            f"{recipe.path}: input.shape",
            f"{height} x {width} pixels do not divide into {patch} x {patch} patches",
            f"use multiples of {patch}",
        )
    return height // patch, width // patch


def _shared_windows(recipe: Recipe, grid: tuple[int, int]) -> tuple[int, int, int]:
    """Returns (requested, realised, possible) shared windows; all 0 without CTS."""
    cts = recipe.reduction.cts
    if cts is None or cts.num_shared == 0:
        return 0, 0, 0
    where = f"{recipe.path}: reduction.cts.num_shared = {cts.num_shared}"
    if grid[0] % 2 or grid[1] % 2:
        window = 2 * recipe.segvit.backbone.patch_size
        raise RecipeError(
            where,
            f"a grid of {grid[0]} x {grid[1]} patches does not divide into 2 x 2 windows",
            f"use an input.shape whose height and width are multiples of {window}",
        )
    windows = (grid[0] // 2) * (grid[1] // 2)
    try:
        shared = aligned_num_shared(grid[0] * grid[1], windows, cts.num_shared, cts.align_tokens)
    except ValueError as error:
        remedy = f"use 0 (no sharing) to {windows}, or another align_tokens (now {cts.align_tokens})"
        raise RecipeError(where, str(error), remedy) from error
    return cts.num_shared, shared, windows


def _pruning_stages(recipe: Recipe) -> dict[int, tuple[int, int]]:
    """Returns {block: (index of its auxiliary head, tokens to prune)} for the stages that prune anything."""
    dtop = recipe.reduction.dtop
    if dtop is None:
        return {}
    head_of_block = {head.stages[0]: index for index, head in enumerate(recipe.segvit.auxiliary_heads)}
    final = recipe.segvit.decode_head
    stages = {}
    for block, k in dtop.prune:
        where = f"{recipe.path}: reduction.dtop.prune[{block}] = {k}"
        if k == 0:
            continue
        if k < 0:
            raise RecipeError(where, "is negative", "use 0 (no pruning there) or more")
        if block not in head_of_block:
            known = ", ".join(str(b) for b in sorted(head_of_block)) or "none"
            raise RecipeError(
                where,
                f"no auxiliary head reads block {block} (heads read: {known})",
                "add a PruneHead whose in_index selects that block, or prune where a head is",
            )
        if len(final.stages) > 1:
            raise RecipeError(
                where,
                f"{final.type} reads {len(final.stages)} blocks and cannot follow tokens that left between them",
                "use PruneHead as decode_head",
            )
        if block > final.stages[0]:
            raise RecipeError(
                where, f"the final head reads block {final.stages[0]}, before these tokens leave", "prune earlier"
            )
        stages[block] = (head_of_block[block], k)
    return stages


def _check_count(recipe: Recipe, block: int, k: int, tokens: int) -> None:
    where = f"{recipe.path}: reduction.dtop.prune[{block}] = {k}"
    if k > tokens:
        raise RecipeError(where, f"exceeds the {tokens} tokens entering block {block}", f"use a value below {tokens}")
    if k == tokens:
        raise RecipeError(where, f"leaves none of the {tokens} tokens of block {block}", f"use a value below {tokens}")
