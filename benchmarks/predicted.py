"""What a Jetson's limits allow: predicted latency of recipes per precision and power mode. No measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgeexport.cost.ceilings import ceilings_of
from edgeexport.cost.roofline import MODEL, predictions
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.node_work import graph_work
from edgeexport.recipe import load_recipe

__all__ = ["RECIPES", "predicted_latencies"]

RECIPES = ("segvit.py", "segvit_cts.py", "segvit_dtop.py", "segvit_cts_dtop.py")
_PRECISIONS = ("fp32", "fp16")


def predicted_latencies(
    recipes: Sequence[str], target: str, on_stage: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """Exports every recipe in both precisions and predicts it in every power mode of a Jetson.

    Args:
        recipes: By name or path; the first is what the others are set against.
        target: 'orin', 'orin-nx', 'orin-nano' or 'thor'.
        on_stage: Called with each stage's name as it starts.

    Returns:
        ``model`` and ``rows``: per recipe and precision ``ms`` and ``of_first``, the first recipe's time in the same
        precision and mode divided by its own, both by power mode.

    Raises:
        UsageError: Nothing is known of that target.
    """
    ceilings_of(target)
    rows: list[dict[str, Any]] = []
    first: dict[str, dict[str, float]] = {}
    for name in recipes:
        on_stage(f"{name}: export")
        recipe = load_recipe(name)
        model, _ = model_from_recipe(recipe)
        fixed = fixed_from_model(model, recipe)
        for precision in _PRECISIONS:
            graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}), precision)
            work = graph_work(graphs.with_functions, graphs.plain, recipe)
            ms = {item.ceilings.power_mode: item.total_ms for item in predictions(work, target)}
            reference = first.setdefault(precision, ms)
            rows.append(
                {
                    "recipe": recipe.name,
                    "precision": precision,
                    "ms": {mode: round(value, 2) for mode, value in ms.items()},
                    "of_first": {mode: round(reference[mode] / value, 2) for mode, value in ms.items()},
                }
            )
    return {"provenance": "predicted", "target": target, "model": MODEL, "rows": rows}
