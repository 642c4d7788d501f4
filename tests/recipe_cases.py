"""Small valid recipes, and ways to change them, for the tests of this folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from edgeexport.errors import EdgeExportError

__all__ = [
    "ABSENT",
    "TINY",
    "TINY_ATM",
    "TINY_CLIP",
    "TINY_DIFFUSION",
    "TINY_LINEAR",
    "TINY_SEGMENTER",
    "TINY_TIMM",
    "changed",
    "message_of",
]

ABSENT = object()


def _head(**stage: object) -> dict[str, object]:
    return dict(type="PruneHead", in_channels=48, channels=24, num_heads=2, num_classes=5, **stage)


# 128x128 pixels: 64 tokens, 16 windows; auxiliary heads after blocks 2 and 3, the final one after block 4.
TINY = dict(
    model=dict(
        type="EncoderDecoderPrune",
        backbone=dict(
            type="ViT_prune",
            img_size=(128, 128),
            embed_dims=48,
            num_layers=4,
            num_heads=3,
            out_indices=[1, 2, 3],
            norm_cfg=dict(type="LN", eps=1e-6),
            with_cls_token=False,
        ),
        decode_head=_head(),
        auxiliary_head=[_head(in_index=0, thresh=0.35), _head(in_index=1, thresh=0.4)],
    ),
    input=dict(shape=(1, 3, 128, 128)),
)

TINY_ATM = dict(
    model=dict(
        type="EncoderDecoder",
        backbone={**TINY["model"]["backbone"], "type": "VisionTransformer"},
        decode_head=dict(type="ATMHead", in_channels=48, embed_dims=24, num_heads=2, num_classes=5, num_layers=2),
    ),
    input=dict(shape=(1, 3, 128, 128)),
)

# A class token and 8x8 patches of 128x128 pixels; the mask transformer is wider than the encoder's heads.
TINY_SEGMENTER = dict(
    model=dict(
        type="EncoderDecoder",
        backbone=dict(
            type="VisionTransformer",
            img_size=(128, 128),
            embed_dims=48,
            num_layers=4,
            num_heads=3,
            final_norm=True,
            patch_bias=True,
            norm_cfg=dict(type="LN", eps=1e-6),
        ),
        decode_head=dict(
            type="SegmenterMaskTransformerHead",
            in_channels=48,
            channels=48,
            num_classes=5,
            num_layers=2,
            num_heads=2,
            embed_dims=32,
        ),
    ),
    input=dict(shape=(1, 3, 128, 128)),
)

# The linear decoder, behind a class and a distillation token.
TINY_LINEAR = dict(
    model=dict(
        type="EncoderDecoder",
        backbone={**TINY_SEGMENTER["model"]["backbone"], "with_dist_token": True},
        decode_head=dict(
            type="FCNHead", in_channels=48, channels=48, num_classes=5, num_convs=0, concat_input=False, kernel_size=1
        ),
    ),
    input=dict(shape=(1, 3, 128, 128)),
)

# 64x64 pixels in patches of 8: a class token and 8x8 patches, in 6 blocks.
TINY_TIMM = dict(
    model=dict(type="timm", img_size=64, patch_size=8, embed_dim=48, depth=6, num_heads=2, num_classes=10),
    input=dict(shape=(1, 3, 64, 64)),
)

# 8 frames, 2 to a patch: a class token and 4x8x8 patches.
TINY_CLIP = dict(
    model={**TINY_TIMM["model"], "frames": 8, "tubelet": 2},
    input=dict(shape=(1, 3, 8, 64, 64)),
)

TINY_DIFFUSION = dict(
    model=dict(type="sd_block", grid=(4, 6), embed_dims=24, num_heads=3, context_tokens=5, context_width=10),
    input=dict(shape=(2, 24, 24)),
)


def changed(config: Mapping, changes: Mapping[tuple, object]) -> dict:
    """A deep copy of ``config`` with the values at key paths replaced, made or (`ABSENT`) removed."""
    result = copy.deepcopy(dict(config))
    for path, value in changes.items():
        level = result
        for key in path[:-1]:
            if isinstance(level, dict) and level.get(key) is None:
                level[key] = {}
            level = level[key]
        if value is ABSENT:
            del level[path[-1]]
        else:
            level[path[-1]] = value
    return result


def message_of(error: EdgeExportError) -> str:
    assert error.exit_code == 2
    message = str(error)
    assert "\n" not in message
    return message
