"""Multiply-accumulates of the shipped recipes beside the published ones of the same methods; computed, nothing is run."""

from __future__ import annotations

from edgeexport.freeze.accounting import account
from edgeexport.recipe import load_recipe

__all__ = ["PUBLISHED_GMAC", "compare_published"]

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
            tokens = [schedule.tokens_in, *(head.tokens - head.pruned for head in schedule.heads if head.pruned)]
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
