"""What a calibration chooses counts for: a recipe's model, the candidate counts, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexport.calibration.cost import CostModel, MacsCost, TableCost
from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.latency_table import read_latency_table
from edgeexport.calibration.request import Request
from edgeexport.calibration.space import CountSpace, space_from_recipe
from edgeexport.errors import UsageError
from edgeexport.evaluation.segmenter_spec import is_segmenter, stated_thresholds
from edgeexport.recipe.schema import Recipe

__all__ = ["CalibrationTask", "task_from_recipe"]


@dataclass(frozen=True)
class CalibrationTask:
    """What to choose counts for, and by what.

    Attributes:
        recipe: Loaded; its batch is 1.
        request: The method and its number.
        cost: What counts cost.
        space: Candidate counts, aligned.
        thresholds: Block -> theta of the stages that have one.
    """

    recipe: Recipe
    request: Request
    cost: CostModel
    space: CountSpace
    thresholds: Mapping[int, float]

    @property
    def blocks(self) -> tuple[int, ...]:
        """Stages to choose a k for."""
        return tuple(block for block, _ in self.space.stages)

    @property
    def shares(self) -> bool:
        """Whether there are windows to choose an S for."""
        return len(self.space.shared) > 1

    @property
    def device(self) -> str:
        """Where the costs are from; '' where they are counted."""
        return f"{self.cost.table.provenance} on {self.cost.table.device}" if isinstance(self.cost, TableCost) else ""

    @property
    def everything(self) -> Recipe:
        """The recipe with every stage and sharing in use, so that the weights of all of it are asked for."""
        return recipe_with_counts(self.recipe, Counts(int(self.shares), tuple((block, 1) for block in self.blocks)))

    def cost_of(self, counts: Counts) -> float:
        """Cost of the recipe with ``counts``. Raises as the cost model does."""
        return self.cost.cost(recipe_with_counts(self.recipe, counts))


def task_from_recipe(recipe: Recipe, request: Request, latency_table: Path | None = None) -> CalibrationTask:
    """What to choose counts for in a recipe.

    Args:
        recipe: Loaded.
        request: From `edgeexport.calibration.request.request_from_options`.
        latency_table: For 'latency-ms', else None.

    Raises:
        UsageError: The recipe has no counts to choose, or options do not fit it or each other.
    """
    other = next((key for key in recipe.reductions if key not in ("cts", "dtop")), None)
    if not is_segmenter(recipe) or other is not None:
        kind = f"reduction.{other}" if is_segmenter(recipe) else f"model.type = {recipe.model.type!r}"
        remedy = "give one such as segvit_cts_dtop.py; for merging in a timm host --max-drop, --min-cosine or --delay"
        problem = f"needs a SegViT with auxiliary heads or CTS, found {kind}"
        raise UsageError(f"calibrate {recipe.name}", problem, remedy)
    if recipe.facts.windows > 1:
        problem = f"needs whole images, found test_cfg with {recipe.facts.windows} windows over one"
        remedy = "calibrate at input.shape of one window, with model.test_cfg=None; counts of a window stay the same"
        raise UsageError(f"calibrate {recipe.name}", problem, remedy)
    if request.method == "latency-ms" and latency_table is None:
        remedy = "python -m benchmarks block-table measures one"
        raise UsageError("--latency-ms", "needs --latency-table", remedy)
    if request.method != "latency-ms" and latency_table is not None:
        raise UsageError(f"--latency-table {latency_table}", "is for --latency-ms", "leave it out")
    space = space_from_recipe(recipe)
    task = CalibrationTask(
        recipe=recipe,
        request=request,
        space=space,
        cost=MacsCost() if latency_table is None else TableCost(read_latency_table(latency_table)),
        thresholds=_thresholds(recipe, [block for block, _ in space.stages], request.threshold),
    )
    missing = [block for block in task.blocks if block not in task.thresholds]
    if missing and request.method == "coverage":
        raise UsageError(
            f"{recipe.path}: model.auxiliary_head",
            f"states no thresh below 1 for the head after block {missing[0]}, which --coverage counts with",
            "give --threshold",
        )
    return task


def _thresholds(recipe: Recipe, blocks: Sequence[int], threshold: float | None) -> dict[int, float]:
    """A threshold of 1 lets nothing leave: heads state it where it means nothing."""
    stated = stated_thresholds(recipe)
    chosen = {block: stated[block] if threshold is None else threshold for block in blocks}
    return {block: theta for block, theta in chosen.items() if theta is not None and theta < 1}
