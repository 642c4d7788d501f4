"""What a recipe says, as frozen dataclasses: the only form in which the rest of the package sees it.

Imports nothing but the standard library, so that it can be read on a Jetson without torch.
Block numbers are 1-based everywhere (the paper's "after block 6"); token counts are per image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "BackboneSpec",
    "CtsSpec",
    "DtopSpec",
    "HeadSpec",
    "InputSpec",
    "MergeSpec",
    "ModelSpec",
    "Preprocess",
    "Recipe",
    "ReductionSpec",
    "SdBlockSpec",
    "SegVitSpec",
    "TailSpec",
    "TimmVitSpec",
]


@dataclass(frozen=True)
class Preprocess:
    """Normalisation inside the graph: ``(pixel - mean) / std`` per channel, in 0..255 units.

    With it the graph takes uint8 (B, H, W, 3). ``bgr_to_rgb`` reverses the channels first, as mmseg does
    for images that OpenCV decoded; files that `edgeexport run` opens are fed in the order this implies.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr_to_rgb: bool


@dataclass(frozen=True)
class InputSpec:
    """Fixed input: ``batch`` images of ``height`` x ``width`` pixels, or what takes an image's place.

    - images: uint8 (B, H, W, 3) with ``preprocess``, else float32 (B, channels, H, W); one channel is a spectrogram;
    - clips: ``frames`` is set, float32 (B, channels, frames, H, W);
    - features of a diffusion model: ``context`` is set, float32 (B, H W, channels) on a latent grid of H x W, and a second
      input, the text's float32 (B, tokens, width) with ``context = (tokens, width)``.
    """

    batch: int
    height: int
    width: int
    preprocess: Preprocess | None
    channels: int = 3
    frames: int | None = None
    context: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the graph's first input."""
        if self.preprocess is not None:
            return (self.batch, self.height, self.width, self.channels)
        if self.context is not None:
            return (self.batch, self.height * self.width, self.channels)
        if self.frames is not None:
            return (self.batch, self.channels, self.frames, self.height, self.width)
        return (self.batch, self.channels, self.height, self.width)

    @property
    def is_photo(self) -> bool:
        """Whether the model takes a colour image, so that a photograph can be predicted."""
        return self.channels == 3 and self.frames is None and self.context is None


@dataclass(frozen=True)
class BackboneSpec:
    """Plain Vision Transformer of mmsegmentation (`VisionTransformer`, or `ViT_prune` of DToP).

    ``img_size`` is the (height, width) in pixels that the position embedding was trained for; another input size
    interpolates it with ``interpolate_mode``. ``out_indices`` are 0-based blocks, as in mmseg.
    """

    type: str
    img_size: tuple[int, int]
    patch_size: int
    in_channels: int
    embed_dims: int
    num_layers: int
    num_heads: int
    mlp_ratio: float
    qkv_bias: bool
    patch_bias: bool
    norm_eps: float
    final_norm: bool
    with_cls_token: bool
    interpolate_mode: str
    out_indices: tuple[int, ...]


@dataclass(frozen=True)
class HeadSpec:
    """Attention-to-mask head: `PruneHead` (one stage) or `ATMHead` (``stages`` backbone outputs).

    ``width`` is the decoder's channel count (mmseg: ``channels`` of PruneHead, ``embed_dims`` of ATMHead).
    ``stages`` are 1-based blocks whose outputs the head reads, deepest first.
    ``threshold`` is DToP's theta: tokens with confidence strictly above it leave; None where it means nothing.
    """

    type: str
    in_channels: int
    width: int
    num_layers: int
    num_heads: int
    num_classes: int
    stages: tuple[int, ...]
    threshold: float | None


@dataclass(frozen=True)
class SegVitSpec:
    """SegViT: backbone, final head, and DToP's auxiliary heads in order of depth."""

    type: str
    backbone: BackboneSpec
    decode_head: HeadSpec
    auxiliary_heads: tuple[HeadSpec, ...]


@dataclass(frozen=True)
class TimmVitSpec:
    """A plain timm `VisionTransformer`, and what a merge schedule needs to know of it.

    ``name`` and ``arguments`` rebuild it: ``timm.create_model(name, **arguments)``, or without a name
    ``VisionTransformer(**arguments)``. ``frames`` and ``tubelet`` are set for a video host: its patches are
    ``tubelet`` frames deep, and ``arguments`` are without them. ``grid`` is (time steps,) rows, columns of patches.
    ``num_prefix`` counts the tokens ahead of the patches (class, distillation, register tokens). ``final_norm``: every
    token is normalised after the last block; a host that averages its tokens mostly normalises the mean instead.
    """

    type: str
    name: str | None
    arguments: dict[str, object]
    img_size: tuple[int, int]
    patch_size: int
    in_channels: int
    frames: int | None
    tubelet: int
    grid: tuple[int, ...]
    embed_dims: int
    num_layers: int
    num_heads: int
    mlp_hidden: int
    num_classes: int
    num_prefix: int
    class_token: bool
    distilled: bool
    global_pool: str
    final_norm: bool

    @property
    def num_tokens(self) -> int:
        """Tokens that enter block 1, prefix included."""
        return self.num_prefix + math.prod(self.grid)


@dataclass(frozen=True)
class SdBlockSpec:
    """Transformer block of a Stable-Diffusion U-Net: self-attention, cross-attention to the text, GEGLU MLP.

    ``grid`` is the latent's (rows, columns); ``context_tokens`` x ``context_width`` is the text.
    """

    type: str
    grid: tuple[int, int]
    embed_dims: int
    num_heads: int
    context_tokens: int
    context_width: int


@dataclass(frozen=True)
class CtsSpec:
    """Content-aware token sharing: ``num_shared`` 2x2 windows share one token each.

    ``num_shared`` is what the recipe asked for; the smallest S >= num_shared whose token count is a multiple of
    ``align_tokens`` is used (see `edgeexport.freeze.alignment`); 0 shares nothing and emits no nodes.
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
