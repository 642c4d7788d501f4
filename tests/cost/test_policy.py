"""A policy network with a graph of its own, predicted: ahead of every n-th image, and on an accelerator."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_kernel_plan import kernel

from edgeexport.cost.gpu_limits import gpu_limits
from edgeexport.cost.kernel_plan import DENSE, POLICY, REDUCED, KernelPlan, PlannedKernel, Plans
from edgeexport.cost.pays import pays_figures
from edgeexport.cost.plan_time import plan_prediction
from edgeexport.cost.policy import policy_ahead, policy_figures, policy_rows

_MACS = {REDUCED: 900, POLICY: 2_000_000, DENSE: 1800}


def _plan(model: str, *rows: PlannedKernel) -> KernelPlan:
    return KernelPlan(model, "fp16", "SM86", "x", rows, macs=_MACS[model])


def _two_streams() -> tuple[PlannedKernel, ...]:
    """A kernel on stream 1 beside one on stream 0, which waits for it at the end."""
    last = PlannedKernel("wait", event=0)
    signal = PlannedKernel("signal", stream=1, event=0)
    return (kernel("generated", "a", "b"), replace(kernel("generated", "a", "c"), stream=1), signal, last)


def _total(plan: KernelPlan) -> float:
    return plan_prediction(plan, gpu_limits("orin")).total_ms


def test_the_policy_ahead_takes_the_sum_of_both() -> None:
    policy, model = _plan(POLICY, *_two_streams()), _plan(REDUCED, *_two_streams(), kernel("generated", "b", "d"))
    both = policy_ahead(policy, model)
    assert _total(both) == pytest.approx(_total(policy) + _total(model))
    assert len(both.kernels) == len(policy.kernels) + len(model.kernels)
    assert (both.model, both.macs) == (REDUCED, policy.macs + model.macs)
    names = [{tensor.name for row in half for tensor in row.outputs} for half in (both.rows[:4], both.rows[4:])]
    assert not names[0] & names[1]  # the same name in two graphs is not the same tensor


def test_every_nth_image_pays_its_share_of_the_policy() -> None:
    policy, model = _plan(POLICY, *[kernel("generated", "a", "b")] * 4), _plan(REDUCED, kernel("generated", "a", "b"))
    plans = Plans((model, policy, _plan(DENSE, *[kernel("generated", "a", "b")] * 3)))
    figures = policy_figures(plans, ("fp16", "fp32"), "orin", plugins=True)
    assert figures is not None
    row = figures["predicted"][0]
    assert (row["precision"], row["power_mode"], len(figures["predicted"])) == ("fp16", "MAXN", 4)
    one, four = _total(model), _total(policy)
    assert row["every"] == {"1": round(one + four, 4), "2": round(one + four / 2, 4), "4": round(one + four / 4, 4)}
    # 2 million multiply-accumulates, two operations each, at 26.25e12 a second.
    assert row["accelerator"]["policy_at_least_ms"] == round(4e6 / 26.25e12 * 1e3, 4)
    assert row["accelerator"]["beside_the_gpu_ms"] == round(one, 4)
    assert policy_rows(figures)[0][:2] == ("FP16", "MAXN")
    pays = pays_figures(plans, {REDUCED: 2_000_900, DENSE: 1800}, "orin", plugins=True)
    assert pays is not None and pays["policy"] == figures
    assert pays["predicted"][0]["reduced_ms"] == row["every"]["1"]  # what runs where nobody says otherwise
    assert pays["kernels"]["fp16"] == {REDUCED: 5, DENSE: 3}


def test_a_slow_accelerator_sets_the_pace() -> None:
    policy = replace(_plan(POLICY, kernel("generated", "a", "b")), macs=10**12)
    figures = policy_figures(Plans((policy, _plan(REDUCED, kernel("generated", "a", "b")))), ("fp16",), "orin", True)
    assert figures is not None
    accelerator = figures["predicted"][0]["accelerator"]
    assert accelerator["beside_the_gpu_ms"] == accelerator["policy_at_least_ms"] > 70


def test_without_an_accelerator_or_a_plan_there_is_nothing_to_say() -> None:
    policy, model = _plan(POLICY, kernel("generated", "a", "b")), _plan(REDUCED, kernel("generated", "a", "b"))
    figures = policy_figures(Plans((policy, model)), ("fp16",), "orin-nano", plugins=False)
    assert figures is not None and "accelerator" not in figures["predicted"][0]
    assert policy_figures(Plans((model,)), ("fp16",), "orin", plugins=True) is None
    assert policy_figures(None, ("fp16",), "orin", plugins=True) is None
    assert policy_figures(Plans((policy, model)), ("fp16",), "gpu", plugins=True) is None
