"""What a calibration of counts was asked for, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeexport.calibration.cost import CostModel, MacsCost, TableCost
from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.latency_table import read_latency_table
from edgeexport.calibration.proposal import METHODS, Request
from edgeexport.calibration.space import CountSpace, space_from_recipe
from edgeexport.errors import UsageError
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.recipe.schema import Recipe

__all__ = ["CountsTask", "request_from_options", "task_from_recipe"]

_EXAMPLES = "--coverage 0.9, --max-miou-drop 0.5, --macs 60e9, or --latency-ms 20 --latency-table table.json"
_RANGES = {
    "coverage": (0.0, 1.0, "a share of the images, above 0 and at most 1"),
    "max-miou-drop": (-math.inf, 100.0, "points of mIoU, from 0 to 100"),
    "macs": (0.0, math.inf, "multiply-accumulates per image, above 0, such as 60e9"),
    "latency-ms": (0.0, math.inf, "milliseconds per image, above 0"),
}


@dataclass(frozen=True)
class CountsTask:
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

    def cost_of(self, counts: Counts) -> float:
        """Cost of the recipe with ``counts``. Raises as the cost model does."""
        return self.cost.cost(recipe_with_counts(self.recipe, counts))

    @property
    def everything(self) -> Recipe:
        """The recipe with every stage and sharing in use, so that the weights of all of it are asked for."""
        return recipe_with_counts(self.recipe, Counts(int(self.shares), tuple((block, 1) for block in self.blocks)))


def request_from_options(
    coverage: float | None,
    max_miou_drop: float | None,
    macs: float | None,
    latency_ms: float | None,
    threshold: float | None = None,
) -> Request:
    """The one method that was asked for.

    Raises:
        UsageError: None, several, or a number out of range.
    """
    given = {
        method: value
        for method, value in zip(METHODS, (coverage, max_miou_drop, macs, latency_ms), strict=True)
        if value is not None
    }
    if len(given) != 1:
        found = f"found {' and '.join(f'--{name}' for name in given)}" if given else "found none"
        raise UsageError("calibrate", f"expected one thing to calibrate for, {found}", f"give {_EXAMPLES}, or --delay")
    ((method, value),) = given.items()
    above, most, meaning = _RANGES[method]
    if not above < value <= most or (method == "max-miou-drop" and value < 0) or math.isinf(value):
        raise UsageError(f"--{method} {value:g}", f"expected {meaning}", f"for example {_EXAMPLES}")
    if threshold is not None and not 0 <= threshold < 1:
        raise UsageError(f"--threshold {threshold:g}", "expected a confidence from 0 to below 1", "such as 0.95")
    return Request(method, float(value), threshold)


def task_from_recipe(
    recipe: Recipe, request: Request, *, latency_table: Path | None = None, align: int = 8
) -> CountsTask:
    """What to choose counts for in a recipe.

    Args:
        recipe: Loaded.
        request: From `request_from_options`.
        latency_table: For 'latency-ms', else None.
        align: What token counts are to be multiples of.

    Raises:
        UsageError: The recipe has no counts to choose, or options do not fit it or each other.
    """
    merge = recipe.reduction.merge
    if not isinstance(recipe.model, SegVitSpec) or merge is not None:
        segvit = isinstance(recipe.model, SegVitSpec)
        found = f"reduction.{merge.method}" if segvit and merge is not None else f"model.type = {recipe.model.type!r}"
        remedy = "give one such as segvit_cts_dtop.py; for DSM's delay in a timm host give --delay"
        raise UsageError(
            f"calibrate {recipe.name}", f"needs a SegViT with auxiliary heads or CTS, found {found}", remedy
        )
    if (request.method == "latency-ms") != (latency_table is not None):
        problem = "needs --latency-table" if latency_table is None else "is for --latency-ms"
        where = "--latency-ms" if latency_table is None else f"--latency-table {latency_table}"
        remedy = "python -m benchmarks block-table measures one" if latency_table is None else "leave it out"
        raise UsageError(where, problem, remedy)
    space = space_from_recipe(recipe, align=align)
    task = CountsTask(
        recipe=recipe,
        request=request,
        cost=MacsCost() if latency_table is None else TableCost(read_latency_table(latency_table)),
        space=space,
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


def _thresholds(recipe: Recipe, blocks: list[int], threshold: float | None) -> dict[int, float]:
    """A threshold of 1 lets nothing leave: heads state it where it means nothing."""
    own = {head.stages[0]: head.threshold for head in recipe.segvit.auxiliary_heads}
    chosen = {block: own[block] if threshold is None else threshold for block in blocks}
    return {block: theta for block, theta in chosen.items() if theta is not None and theta < 1}
