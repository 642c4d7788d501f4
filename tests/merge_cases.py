"""Recipes of token merging, built from their dataclasses alone: no recipe file is read."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec, SegVitSpec
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.reductions.cts import CtsSpec
from edgeexport.reductions.merge_spec import MergeChange, MergeSpec


def published_schedule(r: int, inflection: float, depth: int) -> tuple[int, ...]:
    """ToMe's schedule, from its definition: a straight line through r in the middle, truncated."""
    lowest = int(r * (1.0 - inflection))
    step = (2 * r - 2 * lowest) / (depth - 1)
    return tuple(int(lowest + step * block) for block in range(depth))


def timm_spec(width: int, depth: int, heads: int, **changes: Any) -> TimmVitSpec:
    """A ViT of patch 16 at 224 x 224 with a class token and 1000 classes."""
    spec = TimmVitSpec(
        type="timm",
        name=None,
        arguments={},
        img_size=(224, 224),
        patch_size=16,
        in_channels=3,
        frames=None,
        tubelet=1,
        grid=(14, 14),
        embed_dims=width,
        num_layers=depth,
        num_heads=heads,
        mlp_hidden=4 * width,
        num_classes=1000,
        num_prefix=1,
        class_token=True,
        distilled=False,
        global_pool="token",
        final_norm=True,
    )
    return replace(spec, **changes)


VIT_TI = timm_spec(192, 12, 3)
VIT_S = timm_spec(384, 12, 6)
VIT_B = timm_spec(768, 12, 12)
VIT_L = timm_spec(1024, 24, 16)
VIT_H = timm_spec(1280, 32, 16, patch_size=14, grid=(16, 16))
VIDEO_L = replace(VIT_L, frames=16, tubelet=2, grid=(8, 14, 14), num_classes=400)
AUDIO_B = replace(VIT_B, in_channels=1, grid=(64, 8), img_size=(1024, 128), num_classes=527)
SD_BLOCK = SdBlockSpec("sd_block", (64, 64), 320, 8, 77, 768)


def tome(r: int | tuple[int, ...], depth: int = 12, **changes: Any) -> MergeSpec:
    return MergeSpec("tome", (r,) * depth if isinstance(r, int) else r, **changes)


def dsm(r: int, depth: int = 12, **changes: Any) -> MergeSpec:
    return replace(MergeSpec("dsm", (r,) * depth, delay=round(depth / 6), window=7), **changes)


def recipe_of(
    model: Any, merge: MergeSpec | None = None, extra_outputs: tuple[str, ...] = (), cts: CtsSpec | None = None
) -> Recipe:
    if isinstance(model, TimmVitSpec):
        size, output = InputSpec(1, *model.img_size, None, model.in_channels, model.frames), "logits"
    elif isinstance(model, SdBlockSpec):
        text = (model.context_tokens, model.context_width)
        size, output = InputSpec(1, *model.grid, None, model.embed_dims, context=text), "tokens"
    else:
        size, output = InputSpec(1, *model.backbone.img_size, None), "class_map"
    return Recipe(
        name="r",
        path=Path("recipes/r.py"),
        description="",
        model=model,
        checkpoint=None,
        seed=0,
        input=size,
        output=output,
        reductions=({} if cts is None else {"cts": cts}) | ({} if merge is None else {merge.method: merge}),
        tail=TailSpec("fast", 8),
        extra_outputs=extra_outputs,
        classes=(),
        palette=(),
        text={},
    )


def segvit_spec(cls_token: bool = False) -> SegVitSpec:
    """SegViT on ViT-B at 512 x 512 with one PruneHead."""
    backbone = BackboneSpec(
        "ViT_prune", (512, 512), 16, 3, 768, 12, 12, 4.0, True, True, 1e-6, False, cls_token, "bicubic", (11,)
    )
    head = HeadSpec("PruneHead", 768, 384, 3, 12, 150, (12,), None)
    return SegVitSpec("EncoderDecoderPrune", backbone, head, ())


def changes_of(recipe: Recipe) -> tuple[MergeChange, ...]:
    """What the recipe's only reduction does to the number of tokens."""
    ((key, spec),) = recipe.reductions.items()
    return REDUCTIONS[key].changes(spec, recipe.facts, recipe.facts.num_tokens, recipe.place_of(key))


def counts_of(changes: tuple[MergeChange, ...]) -> list[int]:
    """Tokens entering every block, and those leaving the last."""
    assert all(one.tokens_out == other.tokens_in for one, other in pairwise(changes))
    return [change.tokens_in for change in changes] + [changes[-1].tokens_out]
