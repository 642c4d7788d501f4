"""A Segmenter as a recipe describes it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexport.hosts.segmentation.spec import BackboneSpec
from edgeexport.hosts.segmentation.test_mode import Slide

__all__ = ["DecoderSpec", "SegmenterSpec"]


@dataclass(frozen=True)
class DecoderSpec:
    """``type`` 'SegmenterMaskTransformerHead', or 'FCNHead' without convolutions: the linear decoder.

    ``embed_dims`` to ``norm_eps`` are of the mask transformer's blocks, whose number ``num_layers`` is; a linear decoder has
    none, and ``in_channels`` for ``embed_dims``. ``stages`` holds the one 1-based block that it reads.
    """

    type: str
    in_channels: int
    embed_dims: int
    num_layers: int
    num_heads: int
    mlp_ratio: float
    qkv_bias: bool
    norm_eps: float
    num_classes: int
    stages: tuple[int, ...]


@dataclass(frozen=True)
class SegmenterSpec:
    """Encoder and decoder. ``type`` is the family's name, whatever the config calls the whole; ``slide``: windows."""

    type: str
    backbone: BackboneSpec
    decode_head: DecoderSpec
    slide: Slide | None = None
