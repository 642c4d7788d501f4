"""What a recipe says, as frozen dataclasses: the only form in which the rest of the package sees it.

Imports nothing but the standard library, so that it can be read on a Jetson without torch.
Block numbers are 1-based everywhere (the paper's "after block 6"); token counts are per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.inputs.spec import InputSpec

__all__ = ["CtsSpec", "DtopSpec", "MergeSpec", "ModelSpec", "Recipe", "ReductionSpec", "TailSpec"]


@dataclass(frozen=True)
class CtsSpec:
    """Content-aware token sharing: ``num_shared`` 2x2 windows share one token each.

    ``num_shared`` is what the recipe asked for; the smallest S >= num_shared whose token count is a multiple of
    ``align_tokens`` is used (see `edgeexport.reductions.alignment`); 0 shares nothing and emits no nodes.
    ``policy_checkpoint`` is absolute, or None when the policy network's weights are in the model's checkpoint under
    ``policy_net.``.
    """

    num_shared: int
    align_tokens: int
    policy_checkpoint: Path | None


@dataclass(frozen=True)
class DtopSpec:
    """Dynamic token pruning: ``prune`` holds (block, tokens pruned after it), ascending, zero counts included."""

    prune: tuple[tuple[int, int], ...]
    protect_per_class: int


@dataclass(frozen=True)
class MergeSpec:
    """Token merging: ToMe, DSM, or merging around the blocks of a dense model.

    Attributes:
        method: 'tome' or 'dsm', the recipe's key.
        r: Tokens that the schedule asks to merge in each block; one entry per block, before clamping.
        proportional_attention: Add log(size) to the key logits, from the block after the first merge on.
        pool: 'mean' (timm's) or 'size_weighted' (MAE's own), for hosts that average their tokens.
        metric: What similarity is measured on: 'k', 'q', 'v' (averaged over heads) or 'x' (the tokens to be merged).
        dense: None: tokens stay merged. 'tome': merged at the start of every block and unmerged after it.
            'sd': merged around every residual branch, one destination per 2x2 cell, as for Stable Diffusion.
        delay: DSM: blocks without merging at the start.
        window: DSM: side of the first merging block's windows in tokens; None: no windows.
        growth: DSM: what every further block adds to the side, until one window holds the grid.
    """

    method: str
    r: tuple[int, ...]
    proportional_attention: bool = True
    pool: str = "mean"
    metric: str = "k"
    dense: str | None = None
    delay: int = 0
    window: int | None = None
    growth: int = 1


@dataclass(frozen=True)
class ReductionSpec:
    """The token reductions of a recipe; all None is the dense model."""

    cts: CtsSpec | None = None
    dtop: DtopSpec | None = None
    merge: MergeSpec | None = None


ModelSpec = SegVitSpec | TimmVitSpec | SdBlockSpec


@dataclass(frozen=True)
class TailSpec:
    """Class-map tail: ``form`` 'fast' (``candidates`` classes per cell, certified) or 'plain' (Resize + ArgMax).

    Models without a class map have ``TailSpec('none', 0)``.
    """

    form: str
    candidates: int


@dataclass(frozen=True)
class Recipe:
    """A validated recipe.

    ``text`` is the recipe as resolved (JSON-ready dict: bases merged, options applied, defaults filled in), for the
    manifest. ``checkpoint`` is absolute, or None for weights drawn from ``seed``. ``output`` is 'class_map'
    (int32 (B, H, W)) or 'scores' (float32 (B, K, H, W)) of a SegViT, 'logits' (float32 (B, K)) of a timm model, or
    'tokens' (float32 (B, N, C)) of a diffusion block. ``tail`` concerns class maps alone. ``classes``/``palette`` have
    num_classes entries or are empty. ``extra_outputs`` names further graph outputs, in order.
    """

    name: str
    path: Path
    description: str
    model: ModelSpec
    checkpoint: Path | None
    seed: int
    input: InputSpec
    output: str
    reduction: ReductionSpec
    tail: TailSpec
    extra_outputs: tuple[str, ...]
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    text: dict[str, object]

    @property
    def segvit(self) -> SegVitSpec:
        """The model, for code that only SegViT reaches."""
        assert isinstance(self.model, SegVitSpec)
        return self.model
