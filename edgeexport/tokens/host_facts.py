"""What a reduction may know of the model that it acts on. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Exit", "HostFacts"]


@dataclass(frozen=True)
class Exit:
    """A head that predicts for every token after 1-based ``block``, so that tokens may leave there.

    ``threshold`` is the confidence above which its config lets tokens leave; None where it states none.
    """

    block: int
    threshold: float | None


@dataclass(frozen=True)
class HostFacts:
    """A model as reductions see it; token counts are per image, block numbers 1-based.

    Attributes:
        name: For messages: 'SegViT', 'a classifier'.
        title: The family, for messages: 'a SegViT', 'a timm ViT'.
        depth: Blocks that the model has.
        reads: Blocks that the final head reads, deepest first; blocks beyond the deepest are not executed.
        grid: (Time steps,) rows, columns of patches.
        prefix: Tokens ahead of the patches (class, distillation, register), which no reduction touches.
        embed_dims, num_heads: Of the blocks.
        image: (height, width) of the input in pixels.
        patch_size: Side of a patch in pixels; 0 where there are no pixels.
        num_classes: 0 where nothing is classified.
        variants: Ways of merging inside a block that hand every token back, the default first; none for a model that reads
            merged tokens.
        restores: Whether tokens that merged for good are copied back, each to every place that it came from, where they are
            read: so that merging can be undone once, at the end.
        pooling: How tokens become one, for messages; None where they do not.
        exits: Heads at which tokens may leave, in order of depth.
        why_no_exits: Why tokens cannot leave before the final head, and what would help; both empty where they can.
        why_no_sharing: Why patches cannot share a token ahead of the embedding; empty where they can.
        rotary: Queries and keys are turned by the place of their token.
        windows: Windows of an image that the model sees one by one; ``grid``, ``image`` and all counts are one window's.
    """

    name: str
    title: str
    depth: int
    reads: tuple[int, ...]
    grid: tuple[int, ...]
    prefix: int
    embed_dims: int
    num_heads: int
    image: tuple[int, int]
    patch_size: int
    num_classes: int
    variants: tuple[str, ...]
    pooling: str | None
    exits: tuple[Exit, ...]
    why_no_exits: tuple[str, str]
    why_no_sharing: str
    restores: bool = False
    rotary: bool = False
    windows: int = 1

    @property
    def num_patches(self) -> int:
        """Patches of an image."""
        return math.prod(self.grid)

    @property
    def num_tokens(self) -> int:
        """Tokens that enter block 1 of the dense model, prefix included."""
        return self.prefix + self.num_patches

    @property
    def executed(self) -> int:
        """Blocks that run: up to the deepest that the final head reads."""
        return max(self.reads)
