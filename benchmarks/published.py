"""Multiply-accumulates of the shipped recipes beside the published ones of the same methods; computed, nothing is run."""

from __future__ import annotations

from edgeexport.cost.macs import vit_block_macs
from edgeexport.fixed.tokens import ModelMacs, account
from edgeexport.recipe import load_recipe

__all__ = [
    "DSM_NOTE",
    "PUBLISHED_GMAC",
    "PUBLISHED_TOME_GMAC",
    "THIRD_PARTY_DSM_VIT_B",
    "compare_dsm",
    "compare_published",
    "compare_tome",
]

# The hybrid paper's table (policy network not counted). Its dense model seems to count all three heads: 3 heads of 2
# layers fit its figures. Ours has heads of 3 layers and counts those that run, in the dense model the final one.
PUBLISHED_GMAC = {
    "segvit": 112.8,
    "segvit_cts": 75.4,
    "segvit_dtop": 86.3,
    "segvit_cts_dtop": 62.1,
    "segvit_cts_dtop8": 68.3,
    "segvit_ti": 12.0,
    "segvit_ti_cts": 7.6,
    "segvit_ti_dtop": 9.9,
    "segvit_ti_cts_dtop": 6.8,
    "segvit_ti_cts_dtop8": 6.9,
}
# Token counts with which our model has the published ratio of both@[6,8] to dense.
RATIO_MATCHED = {"segvit_cts_dtop": "{6: 240, 8: 80}", "segvit_ti_cts_dtop": "{6: 240, 8: 72}"}

_HUGE = ("model.name='vit_huge_patch14_224'", "model.num_classes=1000")
# "Token Merging: Your ViT But Faster": what is counted, the recipe, its options, 1e9 multiply-accumulates.
PUBLISHED_TOME_GMAC: tuple[tuple[str, str, tuple[str, ...], float], ...] = (
    ("ViT-B, r 0", "tome_vit_b", ("reduction.tome.r=0",), 17.58),
    ("ViT-L, r 0", "tome_vit_l_mae", ("reduction.tome.r=0",), 61.60),
    ("ViT-L, r 8", "tome_vit_l_mae", (), 30.99),
    ("ViT-L, r 8 falling", "tome_vit_l_mae", ("reduction.tome.r=(8, -1.0)",), 22.35),
    ("ViT-H, r 0", "tome_vit_l_mae", (*_HUGE, "reduction.tome.r=0"), 167.40),
    ("ViT-H, r 7", "tome_vit_l_mae", (*_HUGE, "reduction.tome.r=7"), 92.91),
    ("ViT-H, r 7 falling", "tome_vit_l_mae", (*_HUGE, "reduction.tome.r=(7, -1.0)"), 72.61),
    ("DeiT-S, r 0", "tome_deit_s", ("reduction.tome.r=0",), 4.608),
    ("DeiT-S, r 8", "tome_deit_s", ("reduction.tome.r=8",), 3.428),
    ("DeiT-S, r 12", "tome_deit_s", ("reduction.tome.r=12",), 2.853),
    ("DeiT-S, r 13", "tome_deit_s", (), 2.712),
    ("DeiT-S, r 16", "tome_deit_s", ("reduction.tome.r=16",), 2.298),
    ("video ViT-L, r 0", "tome_video_vit_l", ("reduction.tome.r=0",), 597.7),
    ("video ViT-L, r 40", "tome_video_vit_l", ("reduction.tome.r=40",), 394.3),
    ("video ViT-L, r 65", "tome_video_vit_l", (), 281.4),
    ("video ViT-L, r 65 falling", "tome_video_vit_l", ("reduction.tome.r=(65, -1.0)",), 184.1),
    ("audio ViT-B, r 0", "tome_audio_vit_b", ("reduction.tome.r=0",), 48.57),
    ("audio ViT-B, r 20", "tome_audio_vit_b", ("reduction.tome.r=20",), 36.35),
    ("audio ViT-B, r 40", "tome_audio_vit_b", (), 24.72),
)

# Runs of DSM on ViT-B/16 at 224 by others: r, delay in blocks, 1e9 FLOPs as they count (AdaMerge, table 1).
THIRD_PARTY_DSM_VIT_B = (
    (12, 6, 15.95),
    (18, 6, 15.48),
    (16, 5, 14.90),
    (14, 4, 14.37),
    (17, 4, 13.90),
    (20, 4, 13.47),
)
_VIT_B_WIDTH = 768
DSM_NOTE = (
    "The table of DSM's own paper was not at hand, so that no figure of it stands here. Of the paper there is its abstract "
    "(arXiv 2303.02331v2): up to 1.8 times fewer FLOPs, over ViT-Ti to ViT-H, without saying for which r. The published "
    "figures are those of others' DSM runs on ViT-B/16 (Lee, Go and Choi, 'AdaMerge: Salience-Aware Adaptive Token Merging "
    "for Training-Free Acceleration of Vision Transformers', table 1). They count otherwise: their dense model is 17.45, "
    "the blocks' products alone, where ours is 17.58 with patch embedding, norms and classifier; and their ToMe rows are "
    "those of blocks that run on all tokens that enter them, so that a merge saves nothing in its own block, where ours "
    "saves in its MLP and counts the matching. 'gmac_by_their_count' counts our schedule that way; what then still differs "
    "is their schedule, of which only r and the delay are stated."
)


def compare_published() -> list[dict[str, object]]:
    """One row per recipe: tokens entering block 1 and leaving each stage, GMAC, published GMAC, fraction of dense."""
    rows = []
    for name, published in PUBLISHED_GMAC.items():
        variants: list[tuple[str, list[str]]] = [(name, [])]
        if name in RATIO_MATCHED:
            variants.append((f"{name}, prune={RATIO_MATCHED[name]}", [f"reduction.dtop.prune={RATIO_MATCHED[name]}"]))
        for label, options in variants:
            accounting = account(load_recipe(f"{name}.py", options))
            reduced, dense = accounting.reduced, accounting.dense
            schedule = reduced.schedule
            tokens = [schedule.tokens_in, *(leaving.tokens - leaving.pruned for leaving in schedule.exits)]
            family = "segvit_ti" if name.startswith("segvit_ti") else "segvit"
            rows.append(
                {
                    "recipe": label,
                    "tokens": tokens,
                    "gmac": round(reduced.without_policy / 1e9, 2),
                    "gmac_with_policy": round(reduced.total / 1e9, 2),
                    "published_gmac": published,
                    "of_dense": round(reduced.without_policy / dense.total, 3),
                    "published_of_dense": round(published / PUBLISHED_GMAC[family], 3),
                }
            )
    return rows


def compare_tome() -> list[dict[str, object]]:
    """One row per published figure of ToMe: recipe and options, tokens left, GMAC, published GMAC, their ratio."""
    rows: list[dict[str, object]] = []
    for label, name, options, published in PUBLISHED_TOME_GMAC:
        reduced = account(load_recipe(f"{name}.py", list(options))).reduced
        gmac = reduced.total / 1e9
        rows.append(
            {
                "case": label,
                "recipe": name,
                "options": list(options),
                "tokens_out": reduced.schedule.tokens_out,
                "gmac": round(gmac, 3),
                "published_gmac": published,
                "over_published": round(gmac / published, 4),
            }
        )
    return rows


def compare_dsm() -> list[dict[str, object]]:
    """Our DSM beside what is published of it; see `DSM_NOTE` for what each published figure is.

    Rows of the shipped recipes have no published counterpart: ``published_gmac`` is None there.
    """
    cases: list[tuple[str, list[str], float | None]] = [("dsm_deit_s", [], None), ("dsm_vit_b", [], None)]
    cases += [
        ("dsm_vit_b", [f"reduction.dsm.r={r}", f"reduction.dsm.delay={delay}"], published)
        for r, delay, published in THIRD_PARTY_DSM_VIT_B
    ]
    rows: list[dict[str, object]] = []
    for name, options, published in cases:
        recipe = load_recipe(f"{name}.py", options)
        accounting, merge = account(recipe), recipe.reductions["dsm"]
        gmac = accounting.reduced.total / 1e9
        rows.append(
            {
                "recipe": name,
                "r": max(merge.r),
                "delay": merge.delay,
                "tokens_out": accounting.reduced.schedule.tokens_out,
                "gmac": round(gmac, 3),
                "dense_over_reduced": round(accounting.ratio, 3),
                "published_gmac": published,
                "over_published": None if published is None else round(gmac / published, 4),
                "gmac_by_their_count": None
                if published is None
                else round(_macs_by_their_count(accounting.reduced) / 1e9, 3),
            }
        )
    return rows


def _macs_by_their_count(macs: ModelMacs) -> int:
    """Our schedule on ViT-B counted as `DSM_NOTE` says of others: products of blocks alone, on all tokens that enter."""
    blocks = [vit_block_macs(step.tokens_in, _VIT_B_WIDTH) for step in macs.schedule.blocks]
    return sum(block.attention + block.mlp for block in blocks)
