"""What a fixed form costs per image: multiply-accumulates as counted, or milliseconds from a device's table.

Everything that runs counts: auxiliary heads of the stages that prune, and the policy network where tokens are shared.
"""

from __future__ import annotations

from typing import Protocol

from edgeexport.calibration.latency_table import LatencyTable, head_signature, model_signature
from edgeexport.errors import UsageError
from edgeexport.fixed.schedule import TokenSchedule, token_schedule
from edgeexport.fixed.tokens import account
from edgeexport.recipe.schema import Recipe
from edgeexport.tokens.changes import Cut

__all__ = ["CostModel", "MacsCost", "TableCost"]


class CostModel(Protocol):
    """Cost per image of SegViT recipes, all in one unit."""

    @property
    def unit(self) -> str:
        """'MACs' or 'ms'."""

    def cost(self, recipe: Recipe) -> float:
        """Of the recipe's fixed form.

        Raises:
            RecipeError: Its counts do not fit the model.
            UsageError: This model of cost has nothing to say of it.
        """


class MacsCost:
    """Multiply-accumulates as `edgeexport.fixed.tokens` counts them."""

    unit = "MACs"

    def cost(self, recipe: Recipe) -> float:
        """Of the fixed form, the policy network included."""
        return account(recipe).reduced.total


class TableCost:
    """Milliseconds: the sum of the parts that run, each as the table has it.

    How long parts take together is not measured by this: a graph may be faster or slower than the sum of its parts.
    """

    unit = "ms"

    def __init__(self, table: LatencyTable) -> None:
        self.table = table

    def cost(self, recipe: Recipe) -> float:
        """Blocks and heads at their token counts, the policy network where tokens are shared, and the rest."""
        schedule = token_schedule(recipe)
        self._check_fits(recipe, schedule)
        total = self.table.fixed_ms
        total += sum(self.table.block(block.tokens_in) for block in schedule.blocks)
        total += sum(self.table.head(leaving.tokens) for leaving in schedule.exits)
        total += self.table.head(schedule.tokens_out - schedule.facts.prefix)
        return total + self.table.policy() if any(key == "cts" for key, _ in schedule.acting) else total

    def _check_fits(self, recipe: Recipe, schedule: TokenSchedule) -> None:
        for key, change in schedule.acting:
            if change.cut in (Cut.EMBEDDING, Cut.EXIT):
                continue
            raise UsageError(
                f"{recipe.path}: reduction.{key}",
                "merges inside the blocks, whose times the table has by token count alone",
                "use a recipe with CTS or DToP",
            )
        leaving = {item.block for item in schedule.exits}
        for index, head in enumerate(recipe.model.auxiliary_heads):
            if head.stages[0] in leaving and head_signature(head) != head_signature(recipe.model.decode_head):
                raise UsageError(
                    f"{recipe.path}: model.auxiliary_head.{index}",
                    "is of another size than decode_head, and a latency table has the times of one head",
                    "state the budget in --macs",
                )
        if self.table.model is None:
            return
        expected = model_signature(recipe)
        different = [key for key, value in expected.items() if self.table.model.get(key, value) != value]
        if different:
            key = different[0]
            raise UsageError(
                f"{self.table.source}: model.{key}",
                f"is {self.table.model[key]!r}, the recipe has {expected[key]!r}",
                f"measure a table of this model: python -m benchmarks block-table {recipe.name}",
            )
