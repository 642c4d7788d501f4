"""What forms cost: predicted from kernel plans, by a device's own table, or as multiply-accumulates where neither is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeexport.bundle import json_bytes
from edgeexport.bundle.files import write_file
from edgeexport.calibration.cost import MacsCost
from edgeexport.calibration.merging_latency import MergingTableCost, read_merging_latency_table
from edgeexport.calibration.merging_settings import MergingCosts, MergingSetting
from edgeexport.errors import EdgeExportError, UsageError
from edgeexport.evaluation.output_folder import written_to
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe
from edgeexport.tokens.changes import Cut
from edgeexport.tune.form import DENSE_FORM, Form, recipe_of_form
from edgeexport.tune.ladder import form_of_setting
from edgeexport.tune.own_ways import OWN
from edgeexport.tune.plans import PredictedTimes
from edgeexport.tune.token_cost import predicted_table

__all__ = ["Prices", "price_key", "prices_by_plan", "prices_by_table", "prices_in_macs"]

_REFERENCE = 0.6
"""Share of the tokens that merge in the form whose plan tells what a method adds."""


@dataclass(frozen=True)
class Prices:
    """Costs per image, all in one unit.

    Attributes:
        unit: 'ms' or 'MACs'.
        source: Where they are from, beginning with 'predicted', 'measured' or 'computed'.
        dense: Of the dense model, in the precision that the search looks at.
        by_method: `price_key` of a way -> what its counts cost.
        times: Predicted by plan; None where there are no plans.
        missing: `price_key` -> why it has no cost.
    """

    unit: str
    source: str
    dense: float
    by_method: Mapping[str, Callable[[Recipe], float]]
    times: PredictedTimes | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


def price_key(way: str) -> str:
    """What ways have in common whose plans are alike but for counts: the method, and whether it looks in windows.

    A recipe's own ways stand for themselves.

    Args:
        way: From `MergingSetting.name` or `edgeexport.tune.own_ways.own_forms`.
    """
    if way.startswith(OWN):
        return way
    method, *options = way.split()
    given = dict(option.partition("=")[::2] for option in options)
    return f"{method} in windows" if given.get("window", "None") != "None" else method


def prices_in_macs(dense: Recipe, methods: Sequence[str]) -> Prices:
    """Multiply-accumulates, everything counted."""
    cost = MacsCost().cost
    return Prices("MACs", "computed", cost(dense), dict.fromkeys(methods, cost))


def prices_by_table(dense: Recipe, methods: Sequence[str], path: Path) -> Prices:
    """By a table of a device (``--latency-table``). Raises: UsageError: It cannot be read, or is of another model."""
    table = MergingTableCost(read_merging_latency_table(path))
    return Prices("ms", table.source, table.cost(dense), dict.fromkeys(methods, table.cost))


def prices_by_plan(
    dense: Recipe,
    settings: Sequence[MergingSetting],
    own: Mapping[str, Form],
    times: PredictedTimes,
    folder: Path,
    on_stage: Callable[[str], None],
) -> Prices:
    """From the dense model's plan, and one of each method; writes the tables into ``folder``.

    Raises:
        EdgeExportError: The dense model has no plan: no TensorRT-RTX, or a graph that is too small.
    """
    assert times.limits is not None
    precision, batch = times.precisions[0], dense.input.batch
    plan = times.plans.plan(DENSE_FORM, precision)
    on_stage("latency by tokens")
    table = predicted_table(plan, dense.facts.num_tokens, batch, times.limits)
    by_method: dict[str, Callable[[Recipe], float]] = {}
    missing: dict[str, str] = {}
    for name, form in {**_references(dense, settings), **own}.items():
        try:
            recipe = recipe_of_form(dense, form)
            plan = times.plans.plan(form, precision)
        except UsageError:
            raise
        except EdgeExportError as error:
            missing[name] = str(error)
            continue
        if any(change.cut is not Cut.BETWEEN for _, change in token_schedule(recipe).acting):
            by_method[name] = table.with_constant(recipe, plan, batch)
            continue
        cost = table.with_merging(recipe, plan, batch)
        by_method[name] = cost.cost
        path = folder / f"latency_{name.replace(' ', '_')}_{precision}.json"
        with written_to(path):
            folder.mkdir(parents=True, exist_ok=True)
            write_file(path, json_bytes(cost.table.as_dict()))
    return Prices("ms", times.source, times.ms(DENSE_FORM, precision), by_method, times, missing)


def _references(dense: Recipe, settings: Sequence[MergingSetting]) -> dict[str, Form]:
    """`price_key` -> one of the forms with that price, in which many tokens merge."""
    costs = MergingCosts(dense, MacsCost())
    found: dict[str, Form] = {}
    for setting in settings:
        if price_key(setting.name) not in found:
            blocks = costs.blocks(setting)
            each = max(min(costs.largest_r(setting), int(_REFERENCE * dense.facts.num_tokens / blocks)), 1)
            found[price_key(setting.name)] = form_of_setting(dense, setting, each * blocks)
    return found
