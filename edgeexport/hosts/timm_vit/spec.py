"""A timm Vision Transformer as a recipe describes it. Imports nothing but the standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["TimmVitSpec"]


@dataclass(frozen=True)
class TimmVitSpec:
    """A plain timm `VisionTransformer` or `Eva`, and what a merge schedule needs to know of it.

    ``name`` and ``arguments`` rebuild it: ``timm.create_model(name, **arguments)``, or without a name
    ``VisionTransformer(**arguments)``. ``frames`` and ``tubelet`` are set for a video host: its patches are
    ``tubelet`` frames deep, and ``arguments`` are without them. ``grid`` is (time steps,) rows, columns of patches.
    ``num_prefix`` counts the tokens ahead of the patches (class, distillation, register tokens). ``final_norm``: every
    token is normalised after the last block; a host that averages its tokens mostly normalises the mean instead.
    ``antialias``: position embeddings of another image size are resampled with antialiasing, as timm does.
    ``rotary``: queries and keys are turned by the place of their token. ``kv_dims``: width of keys and of values, where heads
    share them; None: ``embed_dims``. ``parallel``: attentions, and MLPs, of a block that act on the same tokens.
    ``mlp_hidden`` of a gated MLP is that of a plain one with as many multiply-accumulates.
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
    antialias: bool = True
    rotary: bool = False
    kv_dims: int | None = None
    parallel: int = 1

    @property
    def num_tokens(self) -> int:
        """Tokens that enter block 1, prefix included."""
        return self.num_prefix + math.prod(self.grid)
