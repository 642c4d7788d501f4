"""The cheap side of cost: milliseconds of any counts from two plans, the dense model's and one of each method.

The dense plan, predicted at every token count, gives a latency table by tokens; what the method's own plan takes beyond that
is merging. A plan of the very form decides later; this ranks candidates, and shows where latency has its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeexport.calibration.merging_latency import MergingLatencyTable, MergingTableCost, merging_signature
from edgeexport.cost.gpu_limits import GpuLimits
from edgeexport.cost.kernel_plan import KernelPlan
from edgeexport.cost.plan_time import plan_prediction
from edgeexport.cost.token_times import block_ms, branch_ms, plan_at_tokens
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe

__all__ = ["PredictedTable", "predicted_table", "token_points"]

_STEP = 8


@dataclass(frozen=True)
class PredictedTable:
    """Attention and MLP of a block by tokens, shared by all methods, and what merging adds by method.

    Attributes:
        dense: (tokens, attention ms, MLP ms), ascending.
        fixed_ms: Outside blocks.
    """

    dense: tuple[tuple[int, float, float], ...]
    fixed_ms: float
    limits: GpuLimits

    def with_merging(self, recipe: Recipe, plan: KernelPlan, batch: int) -> MergingTableCost:
        """The table of a method, from the plan of one of its forms.

        Args:
            recipe: Of that form.
            plan: Of its deployed graph.
        """
        bare = self._table(recipe, {self.dense[0][0]: 0.0, self.dense[-1][0]: 0.0})
        schedule = token_schedule(recipe)
        merging = {change.block for _, change in schedule.acting}
        taken = block_ms(plan_prediction(plan, self.limits))
        outside = (taken.pop(None, 0.0) / batch - self.fixed_ms) / max(len(merging), 1)
        added: dict[int, float] = {}
        for block in schedule.blocks:
            if block.block not in merging:
                continue
            alone = bare.part("attention", block.branches[0].work) + bare.part("mlp", block.branches[-1].work)
            added[block.tokens_in] = max(taken.get(block.block, 0.0) / batch - alone + outside, 0.0)
        fewest, most = min(added), max(added)
        added |= {self.dense[0][0]: added[fewest], self.dense[-1][0]: added[most]}
        return MergingTableCost(self._table(recipe, added))

    def with_constant(self, recipe: Recipe, plan: KernelPlan, batch: int) -> Callable[[Recipe], float]:
        """Of methods that do more than merge between attention and MLP: what one of their forms takes beyond its blocks at
        their token counts is taken to be the same at all counts.

        Args:
            recipe: Of that form.
            plan: Of its deployed graph.
        """
        bare = self._table(recipe, {self.dense[0][0]: 0.0, self.dense[-1][0]: 0.0})

        def blocks(other: Recipe) -> float:
            return sum(
                bare.part("attention", block.branches[0].work) + bare.part("mlp", block.branches[-1].work)
                for block in token_schedule(other).blocks
            )

        beyond = plan_prediction(plan, self.limits).total_ms / batch - blocks(recipe)
        return lambda other: beyond + blocks(other)

    def _table(self, recipe: Recipe, merge: Mapping[int, float]) -> MergingLatencyTable:
        ceilings = self.limits.ceilings
        return MergingLatencyTable(
            provenance="predicted",
            device=f"{ceilings.target} at {ceilings.power_mode}, from kernel plans",
            attention_ms=tuple((tokens, ms) for tokens, ms, _ in self.dense),
            mlp_ms=tuple((tokens, ms) for tokens, _, ms in self.dense),
            merge_ms=tuple(sorted(merge.items())),
            fixed_ms=self.fixed_ms,
            model=merging_signature(recipe),
        )


def predicted_table(plan: KernelPlan, tokens: int, batch: int, limits: GpuLimits) -> PredictedTable:
    """From the dense model's plan.

    Args:
        plan: Of the deployed graph.
        tokens: Per image, prefix included.
        batch: Images of a run; times are per image.
        limits: Of the device.
    """
    rows = []
    for count in token_points(tokens):
        attention, mlp, other = branch_ms(plan_at_tokens(plan, tokens, count, batch), limits)
        rows.append((count, attention / batch, mlp / batch))
    return PredictedTable(tuple(rows), other / batch, limits)


def token_points(tokens: int) -> tuple[int, ...]:
    """Where a product's tiles begin and end: between them times lie on a line."""
    counts = {1, tokens}
    for multiple in range(_STEP, tokens, _STEP):
        counts |= {multiple, multiple + 1}
    return tuple(sorted(counts))
