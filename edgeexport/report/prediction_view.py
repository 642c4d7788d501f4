"""Predicted latencies as the report shows them: for every power mode of the target, beside what was measured there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.cost.ceilings import power_mode_named, power_modes
from edgeexport.cost.kernel_plan import Plans
from edgeexport.cost.pays import plan_of
from edgeexport.cost.plan_time import plan_predictions
from edgeexport.cost.roofline import predictions
from edgeexport.cost.work import GraphWork
from edgeexport.device.targets import TARGETS
from edgeexport.errors import UsageError
from edgeexport.report.bar_chart import Bar, bar_chart
from edgeexport.report.chart import Chart, Swatch, Table

__all__ = ["PredictionView", "prediction_view", "predictions_of_bundle"]

Json = Mapping[str, Any]

_LEGEND = (Swatch("model predicted", "predicted"), Swatch("measured", "measured, median of the compute time"))

_BOUNDS = {"launch": "launches"}


@dataclass(frozen=True)
class PredictionView:
    """Predictions for a target.

    Attributes:
        target: For people.
        model: How they were made.
        modes: Chart of every power mode's total.
        ceilings: The limits of the mode that ``mode`` names, with where each comes from.
        mode: The mode that the figures by part are for: the measured one, or the fastest.
        by_part: `Prediction.as_dict` of that mode.
        headline: Its total.
        measured: Whether a measurement stands beside it.
    """

    target: str
    model: str
    modes: Chart
    ceilings: Table
    mode: str
    by_part: Json
    headline: str
    measured: bool


def predictions_of_bundle(manifest: Json, work: GraphWork | None, plans: Plans | None = None) -> tuple[list[Json], str]:
    """Predictions for the bundle's target, one for each power mode: from its kernel plan, else by roofline from its nodes.

    Returns:
        `Prediction.as_dict` of each, the fastest mode first; or none, and why.
    """
    target = str(manifest["target"])
    plugins = bool(manifest.get("plugins", True))
    precision = str(manifest["precision"])
    own = plans.own(precision) if plans is not None and power_modes(target) else None
    whole = None if own is None else plan_of(plans, own.model, precision, plugins)
    if whole is not None:
        return [item.as_dict() for item in plan_predictions(whole, target)], ""
    if work is None:
        return [], "the bundle has no work.json: it was built by an earlier edgeexport"
    try:
        predicted = predictions(work, target, plugins=plugins)
    except UsageError as error:
        return [], f"{error.where}: {error.problem}"
    if not predicted:
        return [], f"nothing is published about the limits of the target {target}"
    return [prediction.as_dict() for prediction in predicted], ""


def prediction_view(predicted: Sequence[Json], bench: Json | None) -> PredictionView:
    """Arranges the predictions.

    Args:
        predicted: At least one, of `predictions_of_bundle`.
        bench: bench.json; taken beside a prediction only where it was measured on that target in that mode, which is when
            it holds a prediction of its own.
    """
    target = str(predicted[0]["target"])
    measured = _measured(target, bench)
    if measured is not None and bench is not None:  # the engine's own way with plugins goes into this one
        predicted = [bench["predicted"] if item["power_mode"] == measured[0] else item for item in predicted]
    bounds = [name for name in predicted[0]["bound_ms"] if any(item["bound_ms"].get(name) for item in predicted)]
    bars, rows = [], []
    for item in predicted:
        mode, total = str(item["power_mode"]), float(item["total_ms"])
        bars.append(Bar(f"{mode}, predicted", f"{total:.2f} ms", total, "model predicted"))
        cells = [mode, f"{total:.3f}", *(f"{item['bound_ms'].get(bound, 0.0):.3f}" for bound in bounds)]
        if measured is None:
            rows.append(tuple(cells))
            continue
        measured_text, difference = "", ""
        if measured[0] == mode:
            measured_text, difference = f"{measured[1]:.3f}", _difference(measured[1], total)
            bars.append(Bar(f"{mode}, measured", f"{measured[1]:.2f} ms ({difference})", measured[1], "measured"))
        rows.append((*cells, measured_text, difference))
    headers = ["power mode", "predicted ms", *(f"bound by {_BOUNDS.get(bound, bound)}" for bound in bounds)]
    headers += ["measured ms", "measured against predicted"] if measured is not None else []
    title = TARGETS[target].title if target in TARGETS else target
    chosen = next(
        (item for item in predicted if measured is not None and item["power_mode"] == measured[0]), predicted[0]
    )
    described = "; ".join(f"{bar.label}: {bar.figure}" for bar in bars)
    return PredictionView(
        target=title,
        model=str(chosen["model"]),
        modes=Chart(
            svg=bar_chart("modes", f"Latency on {title} by power mode", described, bars),
            legend=_LEGEND if measured is not None else _LEGEND[:1],
            table=Table(tuple(headers), tuple(rows)),
        ),
        ceilings=_ceilings(chosen["ceilings"]),
        mode=str(chosen["power_mode"]),
        by_part=chosen,
        headline=f"{float(chosen['total_ms']):.2f} ms",
        measured=measured is not None,
    )


def _measured(target: str, bench: Json | None) -> tuple[str, float] | None:
    """Power mode and median in milliseconds, where they can stand beside a prediction for ``target``."""
    own = None if bench is None else bench.get("predicted")
    if bench is None or not own or own.get("target") != target:
        return None
    mode = power_mode_named(target, str(own.get("power_mode") or ""))
    return None if mode is None else (mode, float(bench["rows"]["compute"]["p50"]))


def _difference(measured: float, predicted: float) -> str:
    return f"{100 * (measured / predicted - 1):+.0f} %" if predicted > 0 else ""


def _ceilings(ceilings: Json) -> Table:
    """Limits that the prediction rests on."""
    rates = [(f"{dtype} products, 10⁹ MAC/s", limit) for dtype, limit in ceilings["giga_macs_per_s"].items()]
    limits = [*rates, ("memory, GB/s", ceilings["gigabytes_per_s"]), ("kernel launch, µs", ceilings["launch_us"])]
    limits += [(f"{name}, ns per value", limit) for name, limit in ceilings.get("value_ns", {}).items()]
    rows = tuple((name, f"{limit['value']:,.1f}", str(limit["kind"]), str(limit["source"])) for name, limit in limits)
    return Table(("limit", "value", "obtained", "source"), rows, numeric=False)
