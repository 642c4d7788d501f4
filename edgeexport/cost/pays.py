"""Does the reduction pay? The reduced model beside its dense form: multiply-accumulates, kernels, predicted time; and one line.

A build writes the figures into the manifest, so that every command and a device have them at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgeexport.cost.kernel_plan import DENSE, POLICY, REDUCED, KernelPlan, Plans
from edgeexport.cost.plan_time import plan_predictions
from edgeexport.cost.policy import policy_ahead, policy_figures

__all__ = ["PRECISIONS", "PaysLine", "pays_figures", "pays_line", "pays_rows", "plan_deployed", "plan_of"]

PRECISIONS = ("fp16", "fp32")
_SAME = 0.005
"""A difference of less than this share is none."""

Json = Mapping[str, Any]


class PaysLine(NamedTuple):
    """What a reader sees first; ``warns``: the reduced model is predicted slower somewhere, or costs more products."""

    text: str
    warns: bool


def plan_deployed(plan: KernelPlan, plugins: bool) -> KernelPlan:
    """The plan of the graph that is deployed: composed where the bundle's graph asks for plugins."""
    return plan.with_plugins() if plugins else plan


def pays_figures(plans: Plans | None, macs: Mapping[str, int], target: str, plugins: bool) -> dict[str, Any] | None:
    """The manifest's ``pays`` (JSON-ready); None for a dense model, beside which nothing stands.

    Args:
        plans: Of the bundle; None where no plan was made.
        macs: Of the reduced and the dense model, everything counted.
        target: Whose power modes are predicted.
        plugins: Whether the deployed graph asks for them.
    """
    if macs[REDUCED] == macs[DENSE]:
        return None
    figures: dict[str, Any] = {
        "provenance": "predicted from kernel plans; multiply-accumulates computed",
        "macs": dict(macs),
        "composed": False,
        "kernels": {},
        "predicted": [],
    }
    for precision in PRECISIONS:
        sides = {model: plan_of(plans, model, precision, plugins) for model in (REDUCED, DENSE)}
        deployed = {model: plan for model, plan in sides.items() if plan is not None}
        if len(deployed) < len(sides):
            continue
        figures["composed"] = any(plan.composed for plan in deployed.values())
        figures["kernels"][precision] = {model: len(plan.kernels) for model, plan in deployed.items()}
        both = zip(*(plan_predictions(deployed[model], target) for model in (REDUCED, DENSE)), strict=True)
        for reduced, dense in both:
            figures["predicted"].append(
                {
                    "precision": precision,
                    "power_mode": reduced.limits.ceilings.power_mode,
                    "reduced_ms": round(reduced.total_ms, 4),
                    "dense_ms": round(dense.total_ms, 4),
                    "reduced_cuda_graph_ms": round(reduced.cuda_graph_ms, 4),
                    "dense_cuda_graph_ms": round(dense.cuda_graph_ms, 4),
                }
            )
    policy = policy_figures(plans, PRECISIONS, target, plugins)
    return figures if policy is None else {**figures, "policy": policy}


def plan_of(plans: Plans | None, model: str, precision: str, plugins: bool) -> KernelPlan | None:
    """The plan of all that runs for an image: of the reduced model with its policy network ahead of it, where that has a graph
    of its own; of the graphs that are deployed.
    """
    plan = None if plans is None else plans.plan(model, precision)
    if plans is None or plan is None:
        return None
    policy = plans.plan(POLICY, precision) if model == REDUCED else None
    deployed = plan_deployed(plan, plugins)
    return deployed if policy is None else policy_ahead(plan_deployed(policy, plugins), deployed)


def pays_line(figures: Json | None, precision: str) -> PaysLine | None:
    """The first line: whether the reduced model is predicted faster in the bundle's precision, and what it multiplies.

    Args:
        figures: The manifest's ``pays``; None gives None.
        precision: The bundle's.
    """
    if not figures:
        return None
    reduced, dense = figures["macs"][REDUCED], figures["macs"][DENSE]
    work = f"{reduced / 1e9:.2f} of {dense / 1e9:.2f} GMAC"
    more = reduced > dense
    rows = [row for row in figures["predicted"] if row["precision"] == precision]
    slower = [row for row in rows if row["reduced_ms"] > row["dense_ms"] * (1 + _SAME)]
    if not rows:
        counts = figures["kernels"].get(precision)
        kernels = f", {counts[REDUCED]} kernels beside {counts[DENSE]}" if counts else ""
        cost = "costs more than its dense model" if more else "costs less than its dense model"
        return PaysLine(f"{cost}: {work}{kernels} (computed; no time is predicted)", more)
    kernels = figures["kernels"][precision]
    beside = f"{work}, {kernels[REDUCED]} kernels beside {kernels[DENSE]}"
    times = ", ".join(f"{row['power_mode']} {row['reduced_ms']:.2f} beside {row['dense_ms']:.2f} ms" for row in rows)
    if not slower:
        best, worst = (choose(row["dense_ms"] / row["reduced_ms"] for row in rows) for choose in (max, min))
        share = f"{worst:.2f} to {best:.2f} times" if best - worst > _SAME else f"{best:.2f} times"
        head = f"predicted {share} as fast as its dense model in {precision.upper()}"
    elif len(slower) == len(rows):
        head = f"predicted slower than its dense model in {precision.upper()}"
    else:
        where = ", ".join(row["power_mode"] for row in slower)
        head = f"predicted slower than its dense model in {precision.upper()} at {where}"
    also = " and costs more products" if more else ""
    return PaysLine(f"{head}{also}: {times}; {beside}", more or bool(slower))


def pays_rows(figures: Json) -> tuple[tuple[str, ...], ...]:
    """Predicted times as a table's rows: precision, power mode, reduced and dense ms, ratio, both in a CUDA graph, kernels."""
    return tuple(_row(row, figures["kernels"].get(row["precision"], {})) for row in figures["predicted"])


def _row(row: Json, kernels: Mapping[str, int]) -> tuple[str, ...]:
    ms: Sequence[float] = (row["reduced_ms"], row["dense_ms"])
    graph = (row["reduced_cuda_graph_ms"], row["dense_cuda_graph_ms"])
    return (
        str(row["precision"]).upper(),
        str(row["power_mode"]),
        *(f"{value:.2f}" for value in ms),
        f"{ms[1] / ms[0]:.2f}",
        *(f"{value:.2f}" for value in graph),
        f"{graph[1] / graph[0]:.2f}",
        *(str(kernels.get(model, "")) for model in (REDUCED, DENSE)),
    )
