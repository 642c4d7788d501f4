"""A timm Vision Transformer as a recipe describes it. Imports nothing but the standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["EMBEDDING", "FEATURES", "FEATURE_MAP", "LOGITS", "TimmVitSpec", "tap_name"]

LOGITS, EMBEDDING, FEATURES, FEATURE_MAP = "logits", "embedding", "features", "feature_map"


def tap_name(block: int) -> str:
    """The output with the tokens after a block, counted from 0."""
    return f"tap_{block}"


@dataclass(frozen=True)
class TimmVitSpec:
    """A plain timm `VisionTransformer` or `Eva`, and what a merge schedule needs to know of it.

    ``name`` and ``arguments`` rebuild it: ``timm.create_model(name, **arguments)``, or without a name
    ``VisionTransformer(**arguments)``. ``frames`` and ``tubelet`` are set for a video host: its patches are
    ``tubelet`` frames deep, and ``arguments`` are without them. ``grid`` is (time steps,) rows, columns of patches.
    ``num_prefix`` counts the tokens ahead of the patches (class, distillation, register tokens). ``final_norm``: every
    token is normalised after the last block; a host that averages its tokens mostly normalises the mean instead.
    ``outputs`` is what the recipe has it give out, the prediction first. ``num_classes`` is 0 without a classifier. ``taps``
    are blocks, counted from 0, after which tokens are given out, normalised as after the last one if ``tap_norm``.
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
    outputs: tuple[str, ...] = (LOGITS,)
    taps: tuple[int, ...] = ()
    tap_norm: bool = True
    antialias: bool = True
    rotary: bool = False
    kv_dims: int | None = None
    parallel: int = 1

    @property
    def gives_tokens(self) -> bool:
        """Whether tokens are given out, so that those which merged come back at the end."""
        return not {LOGITS, EMBEDDING}.issuperset(self.outputs)

    @property
    def available_outputs(self) -> tuple[str, ...]:
        """What a recipe may ask for, the default first: a map is of images alone."""
        classified = (LOGITS,) if self.num_classes else ()
        maps = (FEATURE_MAP,) if self.frames is None else ()
        return (*classified, EMBEDDING, FEATURES, *maps, *map(tap_name, self.taps))

    @property
    def reads_last(self) -> bool:
        """Whether anything but taps is asked for."""
        return not {*map(tap_name, self.taps)}.issuperset(self.outputs)

    @property
    def reads(self) -> tuple[int, ...]:
        """1-based blocks whose tokens are read, deepest first."""
        last = {self.num_layers} if self.reads_last else set()
        return tuple(sorted(last | {tap + 1 for tap in self.taps}, reverse=True))

    @property
    def taps_are_maps(self) -> bool:
        """Whether taps are maps of patches, as the prediction is then, or tokens."""
        return self.outputs[0] == FEATURE_MAP

    @property
    def num_tokens(self) -> int:
        """Tokens that enter block 1, prefix included."""
        return self.num_prefix + math.prod(self.grid)
