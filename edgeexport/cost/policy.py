"""A policy network with a graph of its own: what it costs ahead of every n-th image, and on a deep-learning accelerator.

All of it is predicted: from kernel plans on the GPU; on an accelerator, of whose kernels nothing is known, only how long its
products take at least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeexport.cost.kernel_plan import POLICY, REDUCED, SIGNAL, WAIT, KernelPlan, PlannedKernel, Plans, Tensor
from edgeexport.cost.plan_time import plan_predictions

__all__ = ["ACCELERATOR", "EVERY", "policy_ahead", "policy_figures", "policy_headers", "policy_rows"]

EVERY = (1, 2, 4)
"""Images per choice that are predicted."""

ACCELERATOR = (
    "one deep-learning accelerator at half the published INT8 rate of both; no FP16 rate is published, nor what it reaches on "
    "depthwise convolutions, so that it takes longer; the memory that it shares with the GPU is left out"
)

_DLA_INT8_TOPS = {"orin": {"MAXN": 52.5, "50W": 46.0, "30W": 45.0, "15W": 20.0}}
"""Published, dense, of both accelerators of a Jetson AGX Orin 64GB."""

Json = Mapping[str, Any]


def policy_ahead(policy: KernelPlan, model: KernelPlan) -> KernelPlan:
    """The plan of both, one after the other: a policy network that runs for every image."""
    done = 1 + max((row.event for row in (*policy.rows, *model.rows) if row.event is not None), default=0)
    ahead = [_apart(row, done) for row in policy.rows]
    others = sorted({row.stream for row in model.rows} - {0})
    barrier = [PlannedKernel(SIGNAL, event=done), *(PlannedKernel(WAIT, stream=other, event=done) for other in others)]
    return replace(
        model,
        rows=(*ahead, *barrier, *model.rows),
        launches={**policy.launches, **model.launches},
        macs=policy.macs + model.macs,
        composed=policy.composed or model.composed,
    )


def _apart(row: PlannedKernel, events: int) -> PlannedKernel:
    """A row of the policy's plan, so that neither its tensors nor its events are the model's."""
    tensors: dict[str, Any] = {
        name: tuple(map(_renamed, getattr(row, name))) for name in ("inputs", "constants", "outputs")
    }
    return replace(row, event=None if row.event is None else row.event + events + 1, **tensors)


def _renamed(tensor: Tensor) -> Tensor:
    return replace(tensor, name=f"{POLICY}/{tensor.name}")


def policy_figures(plans: Plans | None, precisions: Sequence[str], target: str, plugins: bool) -> dict[str, Any] | None:
    """The manifest's ``pays.policy`` (JSON-ready); None where there is no such plan, or nothing to predict times from.

    Args:
        plans: Of the bundle.
        precisions: In this order.
        target: Whose power modes are predicted.
        plugins: Whether the deployed graphs ask for them.
    """
    predicted = []
    for precision in precisions:
        found = [None if plans is None else plans.plan(name, precision) for name in (POLICY, REDUCED)]
        deployed = [plan.with_plugins() if plugins else plan for plan in found if plan is not None]
        if len(deployed) < len(found):
            continue
        for policy, model in zip(*(plan_predictions(plan, target) for plan in deployed), strict=True):
            mode = policy.limits.ceilings.power_mode
            row: dict[str, Any] = {"precision": precision, "power_mode": mode}
            row |= {"policy_ms": round(policy.total_ms, 4), "model_ms": round(model.total_ms, 4)}
            row["every"] = {str(n): round(model.total_ms + policy.total_ms / n, 4) for n in EVERY}
            tops = _DLA_INT8_TOPS.get(target, {}).get(mode)
            if tops is not None:  # of both accelerators, two operations per multiply-accumulate
                least = 1e3 * deployed[0].macs / (tops / 2 * 1e12 / 2)
                row["accelerator"] = {"policy_at_least_ms": round(least, 4)}
                row["accelerator"]["one_after_the_other_ms"] = round(model.total_ms + least, 4)
                row["accelerator"]["beside_the_gpu_ms"] = round(max(model.total_ms, least), 4)
            predicted.append(row)
    if not predicted:
        return None
    return {"every": list(EVERY), "accelerator": ACCELERATOR, "predicted": predicted}


def policy_headers(figures: Json) -> tuple[str, ...]:
    """The columns of `policy_rows`."""
    every = (f"policy every {n}, ms" for n in figures["every"])
    accelerator = ("policy on DLA, at least, ms", "then the model", "beside the model")
    return ("precision", "power mode", "policy ms", "model ms", *every, *accelerator)


def policy_rows(figures: Json) -> tuple[tuple[str, ...], ...]:
    """`policy_figures` as a table's rows: precision, power mode, policy, model, per image for each n, with the accelerator."""
    rows = []
    for row in figures["predicted"]:
        accelerator = row.get("accelerator") or {}
        names = ("policy_at_least_ms", "one_after_the_other_ms", "beside_the_gpu_ms")
        rows.append(
            (
                str(row["precision"]).upper(),
                str(row["power_mode"]),
                *(f"{row[name]:.2f}" for name in ("policy_ms", "model_ms")),
                *(f"{row['every'][str(n)]:.2f}" for n in figures["every"]),
                *(f"{accelerator[name]:.2f}" if name in accelerator else "" for name in names),
            )
        )
    return tuple(rows)
