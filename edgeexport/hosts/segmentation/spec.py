"""The plain Vision Transformer beneath a segmenter. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["BackboneSpec", "BlockSpec"]


class BlockSpec(Protocol):
    """What a transformer block has to know: a backbone's blocks, or a decoder's."""

    @property
    def embed_dims(self) -> int: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def mlp_ratio(self) -> float: ...

    @property
    def qkv_bias(self) -> bool: ...

    @property
    def norm_eps(self) -> float: ...


@dataclass(frozen=True)
class BackboneSpec:
    """Plain Vision Transformer of mmsegmentation (`VisionTransformer`, or `ViT_prune` of DToP).

    ``img_size`` is the (height, width) in pixels that the position embedding was trained for; another input size
    interpolates it with ``interpolate_mode``. ``out_indices`` are 0-based blocks, as in mmseg. ``with_dist_token``: a
    distillation token stands behind the class token, as in DeiT's distilled encoders.
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
    with_dist_token: bool = False

    @property
    def prefix(self) -> int:
        """Tokens ahead of the patches."""
        return int(self.with_cls_token) + int(self.with_dist_token)
