"""Does each shipped recipe pay? Predicted time of the reduced model beside its dense form, by kernel plans. No measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.plans import rtx_plan
from edgeexport.commands.plan_source import plan_from_check
from edgeexport.config.lookup import shipped_recipes
from edgeexport.cost.kernel_plan import DENSE, POLICY, REDUCED, KernelPlan, Plans
from edgeexport.cost.pays import plan_of
from edgeexport.cost.plan_time import plan_predictions
from edgeexport.errors import EdgeExportError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.export_cache import kept_export
from edgeexport.graph.export_key import structure_key
from edgeexport.graph.graphs import graphs_from_export
from edgeexport.graph.separate import parts_of_graphs
from edgeexport.recipe import load_recipe
from edgeexport.recipe.prompt import prompt_recipe

__all__ = ["FORMS", "pays_rows"]

FORMS = {"standard operators": False, "with plugins, composed": True}


def pays_rows(
    recipes: Sequence[str], target: str, precision: str, on_stage: Callable[[str], None] = lambda name: None
) -> list[dict[str, Any]]:
    """One row per reduced recipe: predicted ms of both sides in the first power mode of ``target``, without and with plugins.

    Args:
        recipes: By name or path; none: every shipped one that reduces.
        target: What the time is predicted for.
        precision: 'fp16' or 'fp32'.
        on_stage: Called with each recipe's name as it starts, and with what was predicted of it.

    Raises:
        EdgeExportError: A recipe cannot be read.
    """
    rows: list[dict[str, Any]] = []
    dense: dict[str, KernelPlan] = {}
    for name in recipes or [shipped for shipped, _ in shipped_recipes()]:
        if prompt_recipe(name) is not None:  # several graphs, which have no plans yet
            continue
        recipe = load_recipe(name)
        if not recipe.reductions:
            continue
        on_stage(name)
        model = model_from_recipe(recipe)[0]
        beside = fixed_from_model(model, dense_recipe(recipe))
        row: dict[str, Any] = {"recipe": name.removesuffix(".py")}
        rows.append(row)
        try:
            key = structure_key(beside, {})
            if key not in dense:
                dense[key] = _plans(beside, DENSE, precision)[0]
            plans = Plans((*_plans(fixed_from_model(model, recipe), REDUCED, precision), dense[key]))
        except EdgeExportError as error:
            row["missing"] = error.problem
            continue
        for form, plugins in FORMS.items():
            ms = [_ms(plan_of(plans, side, precision, plugins), target) for side in (REDUCED, DENSE)]
            row[form] = {"reduced ms": ms[0], "dense ms": ms[1], "dense over reduced": round(ms[1] / ms[0], 3)}
            on_stage(f"{name}, {form}: {ms[0]} of {ms[1]} ms")
    return rows


def _plans(fixed: FixedModel, label: str, precision: str) -> list[KernelPlan]:
    parts = parts_of_graphs(
        graphs_from_export(fixed, kept_export(fixed, {}).model, precision, plans_only=True), fixed.separate
    )
    return [
        plan_from_check(
            rtx_plan(graphs.tensorrt), graphs, fixed.recipe, label if stem == "model" else POLICY, precision
        )
        for stem, graphs in sorted(parts.items())
    ]


def _ms(plan: KernelPlan | None, target: str) -> float:
    assert plan is not None
    return round(plan_predictions(plan, target)[0].total_ms, 3)
