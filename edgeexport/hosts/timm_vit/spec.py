"""A timm Vision Transformer as a recipe describes it. Imports nothing but the standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["EMBEDDING", "FEATURES", "FEATURE_MAP", "LOGITS", "TimmVitSpec"]

LOGITS, EMBEDDING, FEATURES, FEATURE_MAP = "logits", "embedding", "features", "feature_map"


@dataclass(frozen=True)
class TimmVitSpec:
    """A plain timm `VisionTransformer`, and what a merge schedule needs to know of it.

    ``name`` and ``arguments`` rebuild it: ``timm.create_model(name, **arguments)``, or without a name
    ``VisionTransformer(**arguments)``. ``frames`` and ``tubelet`` are set for a video host: its patches are
    ``tubelet`` frames deep, and ``arguments`` are without them. ``grid`` is (time steps,) rows, columns of patches.
    ``num_prefix`` counts the tokens ahead of the patches (class, distillation, register tokens). ``final_norm``: every
    token is normalised after the last block; a host that averages its tokens mostly normalises the mean instead.
    ``outputs`` is what the recipe has it give out, the prediction first. ``num_classes`` is 0 without a classifier.
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
    outputs: tuple[str, ...] = (LOGITS,)

    @property
    def gives_tokens(self) -> bool:
        """Whether tokens are given out, so that those which merged come back at the end."""
        return not {LOGITS, EMBEDDING}.issuperset(self.outputs)

    @property
    def available_outputs(self) -> tuple[str, ...]:
        """What a recipe may ask for, the default first: a map is of images alone."""
        classified = (LOGITS,) if self.num_classes else ()
        return (*classified, EMBEDDING, FEATURES, *((FEATURE_MAP,) if self.frames is None else ()))

    @property
    def num_tokens(self) -> int:
        """Tokens that enter block 1, prefix included."""
        return self.num_prefix + math.prod(self.grid)
