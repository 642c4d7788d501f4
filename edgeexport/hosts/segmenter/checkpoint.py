"""Checkpoints of the published Segmenter and CTS code, under mmsegmentation's keys.

The two name the same weights differently, and the mask transformer's projections are stored transposed: there they are
matrices that tokens are multiplied by, here weights of linear layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["from_published_keys", "has_published_keys"]

# In order: a pattern of the published code's keys, and what stands in its place.
_RENAMED: tuple[tuple[str, str], ...] = (
    (r"^encoder\.patch_embed\.proj\.", "backbone.patch_embed.projection."),
    (r"^encoder\.norm\.", "backbone.ln1."),
    (r"^encoder\.blocks\.", "backbone.layers."),
    (r"^encoder\.", "backbone."),
    (r"^decoder\.blocks\.", "decode_head.layers."),
    (r"^decoder\.proj_dec\.", "decode_head.dec_proj."),
    (r"^decoder\.proj_patch$", "decode_head.patch_proj.weight"),
    (r"^decoder\.proj_classes$", "decode_head.classes_proj.weight"),
    (r"^decoder\.head\.", "decode_head.conv_seg."),
    (r"^decoder\.", "decode_head."),
    (r"(layers\.\d+)\.norm(\d)\.", r"\1.ln\2."),
    (r"(layers\.\d+)\.attn\.qkv\.(weight|bias)$", r"\1.attn.attn.in_proj_\2"),
    (r"(layers\.\d+)\.attn\.proj\.", r"\1.attn.attn.out_proj."),
    (r"(layers\.\d+)\.mlp\.fc1\.", r"\1.ffn.layers.0.0."),
    (r"(layers\.\d+)\.mlp\.fc2\.", r"\1.ffn.layers.1."),
)
_TRANSPOSED = ("decoder.proj_patch", "decoder.proj_classes")
_CLASSIFIER = ("encoder.head.", "encoder.head_dist.")  # of the encoder's pre-training


def has_published_keys(state: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint is one of the published code."""
    return "encoder.pos_embed" in state and any(key.startswith("decoder.") for key in state)


def from_published_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under mmsegmentation's keys; other networks' (``policy_net.``) stay as they are."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith(_CLASSIFIER):
            continue
        name = key
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if key in _TRANSPOSED:
            value = value.T
        elif key == "decoder.head.weight" and value.ndim == 2:
            value = value[:, :, None, None]
        renamed[name] = value
    return renamed
