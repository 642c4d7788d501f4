"""SegViT models of a few thousand weights, and the recipes they belong to, built without reading a recipe file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec, SegVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts import CtsSpec
from edgeexport.reductions.dtop import DtopSpec

__all__ = ["small_atm_spec", "small_backbone", "small_head", "small_recipe", "small_spec"]


def small_backbone(**changes: object) -> BackboneSpec:
    """4 blocks, width 32, 64x64 pixels: a 4x4 grid."""
    spec = BackboneSpec(
        type="ViT_prune",
        img_size=(64, 64),
        patch_size=16,
        in_channels=3,
        embed_dims=32,
        num_layers=4,
        num_heads=2,
        mlp_ratio=4.0,
        qkv_bias=True,
        patch_bias=True,
        norm_eps=1e-6,
        final_norm=False,
        with_cls_token=False,
        interpolate_mode="bicubic",
        out_indices=(1, 2, 3),
    )
    return replace(spec, **changes)


def small_head(*stages: int, **changes: object) -> HeadSpec:
    spec = HeadSpec(
        type="PruneHead",
        in_channels=32,
        width=24,
        num_layers=2,
        num_heads=2,
        num_classes=5,
        stages=stages,
        threshold=None,
    )
    return replace(spec, **changes)


def small_spec(**backbone: object) -> SegVitSpec:
    """Auxiliary heads after blocks 2 and 3, the final one after block 4."""
    auxiliary = (small_head(2, threshold=0.9), small_head(3, threshold=0.9))
    return SegVitSpec("EncoderDecoderPrune", small_backbone(**backbone), small_head(4), auxiliary)


def small_atm_spec() -> SegVitSpec:
    backbone = small_backbone(type="VisionTransformer", with_cls_token=True, final_norm=True)
    return SegVitSpec("EncoderDecoder", backbone, small_head(4, 3, 2, type="ATMHead"), ())


def small_recipe(
    *,
    prune: tuple[tuple[int, int], ...] = (),
    num_shared: int = 0,
    policy_checkpoint: Path | None = None,
    checkpoint: Path | None = None,
    seed: int = 0,
    spec: SegVitSpec | None = None,
) -> Recipe:
    reductions: dict[str, object] = {}
    if num_shared or policy_checkpoint:
        reductions["cts"] = CtsSpec(num_shared, 1, policy_checkpoint)
    if prune:
        reductions["dtop"] = DtopSpec(prune, 5)
    return Recipe(
        name="small",
        path=Path("small.py"),
        description="",
        model=spec or small_spec(),
        checkpoint=checkpoint,
        seed=seed,
        input=InputSpec(1, 64, 64, None),
        output="scores",
        reductions=reductions,
        tail=TailSpec("plain", 5),
        extra_outputs=(),
        classes=(),
        palette=(),
        text={},
    )
