"""A SegViT as a recipe describes it. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BackboneSpec", "HeadSpec", "SegVitSpec"]


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
