"""A SegViT as a recipe describes it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexport.hosts.segmentation.spec import BackboneSpec
from edgeexport.hosts.segmentation.test_mode import Slide

__all__ = ["BackboneSpec", "HeadSpec", "SegVitSpec"]


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
    """SegViT: backbone, final head, and DToP's auxiliary heads in order of depth; ``slide``: windows over the image."""

    type: str
    backbone: BackboneSpec
    decode_head: HeadSpec
    auxiliary_heads: tuple[HeadSpec, ...]
    slide: Slide | None = None
