"""Kernel plans as the report shows them: kernels, bytes and predicted time of every part, dense beside reduced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.cost.kernel_plan import DENSE, REDUCED, KernelPlan, Plans
from edgeexport.cost.pays import pays_rows, plan_of
from edgeexport.cost.plan_time import parts_of_plan, plan_predictions
from edgeexport.cost.policy import policy_headers, policy_rows
from edgeexport.cost.work import part_order, part_title
from edgeexport.report.chart import Chart, Swatch, Table
from edgeexport.report.column_chart import Segment, Slot, Stack, column_chart

__all__ = ["KernelView", "kernel_view"]

Json = Mapping[str, Any]

_LEGEND = (Swatch("model predicted", "the bundle's model"), Swatch("other predicted", "its dense form"))
_UNITS = (("launches", "kernels", 1.0), ("bytes", "MB", 1e-6), ("ms", "ms", 1.0))


@dataclass(frozen=True)
class KernelView:
    """Plans of the bundle's precision.

    Attributes:
        how: Compiled or composed, for which GPU, by what.
        charts: Kernels, megabytes and milliseconds by part; each with its heading.
        pays: Predicted times in every precision and power mode; None where nothing stands beside the model.
        policy: Likewise a policy network with a graph of its own, on every n-th image and on an accelerator.
        missing: Plans that could not be made, or not around their plugins, and why.
    """

    how: str
    charts: tuple[tuple[str, Chart], ...]
    pays: Table | None
    policy: Table | None
    missing: tuple[str, ...]


def kernel_view(manifest: Json, plans: Plans | None) -> KernelView | None:
    """Arranges kernels.json; None where the bundle has none."""
    precision, plugins = str(manifest["precision"]), bool(manifest.get("plugins", True))
    found = [plan_of(plans, model, precision, plugins) for model in (REDUCED, DENSE)]
    deployed = [plan for plan in found if plan is not None]
    if plans is None or not deployed:
        return None
    predicted = [next(iter(plan_predictions(plan, str(manifest["target"]))), None) for plan in deployed]
    parts = [
        parts_of_plan(plan) if told is None else told.as_dict()["parts"]
        for plan, told in zip(deployed, predicted, strict=True)
    ]
    mode = "" if predicted[0] is None else predicted[0].limits.ceilings.power_mode
    headings = {"launches": "Kernels", "bytes": "Megabytes moved", "ms": f"Predicted milliseconds at {mode}"}
    charts = [
        (headings[key], _chart(f"plan_{key}", headings[key], key, unit, scale, parts))
        for key, unit, scale in _UNITS
        if all(key in part for side in parts for part in side)
    ]
    notes = (*plans.missing, *(plans.taken_apart if plugins else ()))
    return KernelView(_how(deployed[0]), tuple(charts), *_tables(manifest.get("pays")), notes)


def _how(plan: KernelPlan) -> str:
    compiled = f"{plan.precision.upper()}, compiled for {plan.architecture} by {plan.compiler}, run nowhere"
    if not plan.composed:
        return compiled
    if plan.not_around:
        return (
            compiled + "; composed: in place of the kernels of custom ops stand the launches that their plugins declare"
        )
    return compiled + "; compiled around the plugins, whose declared launches stand between"


def _chart(name: str, title: str, key: str, unit: str, scale: float, sides: Sequence[Sequence[Json]]) -> Chart:
    values = [{part["part"]: part[key] * scale for part in side} for side in sides]
    names = sorted({part for side in values for part in side}, key=part_order)
    styles = ("model", "other")
    slots = [
        Slot(
            _label(part),
            tuple(
                Stack(
                    (Segment(style, side.get(part, 0.0), f"{part_title(part)}: {side.get(part, 0.0):,.3g} {unit}"),),
                    "predicted",
                )
                for style, side in zip(styles, values, strict=False)
            ),
        )
        for part in names
    ]
    totals = " beside ".join(f"{sum(side.values()):,.4g}" for side in values)
    rows = tuple(
        (part_title(part), *(f"{side[part]:,.3f}" if part in side else "" for side in values)) for part in names
    )
    return Chart(
        svg=column_chart(name, title, f"One place for each part, in all {totals} {unit}.", unit, slots),
        legend=_LEGEND[: len(sides)],
        table=Table(("", *("model", "dense form")[: len(sides)]), rows),
    )


def _label(part: str) -> str:
    """Blocks by number; their steps by the first letters of their kind and the number."""
    stem, _, number = part.rpartition("_")
    if not number.isdigit():
        return part_title(part)
    return number if stem == "block" else f"{stem.split('_')[0]} {number}"


def _tables(figures: Json | None) -> tuple[Table | None, Table | None]:
    if not figures or not figures["predicted"]:
        return None, None
    policy = figures.get("policy")
    headers = ("precision", "power mode", "reduced ms", "dense ms", "dense / reduced")
    graph = ("CUDA graph: reduced ms", "dense ms", "dense / reduced", "kernels", "dense kernels")
    pays = Table((*headers, *graph), pays_rows(figures))
    return pays, Table(policy_headers(policy), policy_rows(policy)) if policy else None
