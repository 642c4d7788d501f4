"""What a recipe says, as frozen dataclasses: the only form in which the rest of the package sees it.

Imports nothing but the standard library, so that it can be read on a Jetson without torch.
Block numbers are 1-based everywhere (the paper's "after block 6"); token counts are per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "BackboneSpec",
    "CtsSpec",
    "DtopSpec",
    "HeadSpec",
    "InputSpec",
    "Preprocess",
    "Recipe",
    "ReductionSpec",
    "SegVitSpec",
    "TailSpec",
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
    """Fixed input: ``batch`` images of ``height`` x ``width`` pixels."""

    batch: int
    height: int
    width: int
    preprocess: Preprocess | None


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
class ReductionSpec:
    """The token reductions of a recipe; all None is the dense model."""

    cts: CtsSpec | None = None
    dtop: DtopSpec | None = None


@dataclass(frozen=True)
class TailSpec:
    """Class-map tail: ``form`` 'fast' (``candidates`` classes per cell, certified) or 'plain' (Resize + ArgMax)."""

    form: str
    candidates: int


@dataclass(frozen=True)
class Recipe:
    """A validated recipe.

    ``text`` is the recipe as resolved (JSON-ready dict: bases merged, options applied, defaults filled in), for the
    manifest. ``checkpoint`` is absolute, or None for weights drawn from ``seed``. ``output`` is 'class_map'
    (int32 (B, H, W)) or 'scores' (float32 (B, K, H, W)). ``classes``/``palette`` have num_classes entries or are empty.
    ``extra_outputs`` names further graph outputs, in order.
    """

    name: str
    path: Path
    description: str
    model: SegVitSpec
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
