"""Kernel plans of recipes, of the graph as torch exports it and in the forms that TensorRT gets. No measurement."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.commands.plan_source import plan_from_check
from edgeexport.cost.kernel_plan import DENSE, REDUCED, KernelPlan
from edgeexport.cost.plan_time import plan_predictions
from edgeexport.errors import BuildError
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.export_cache import kept_export
from edgeexport.graph.graphs import graphs_from_export
from edgeexport.recipe import load_recipe

__all__ = ["FORMS", "RECIPES", "divided", "plan_figures", "plan_of_recipe", "plan_rows", "rtx_plan"]

RECIPES = ("segvit_ti.py", "segvit_ti_dtop.py", "segvit_ti_cts_dtop.py", "tome_deit_s.py:dense", "tome_deit_s.py")
FORMS = {"as exported": False, "rewritten": True}
_DENSE = ":dense"
_GROUPS = {
    "blocks and embedding": ("embedding", "block", "final_norm"),
    "policy network": ("policy",),
    "heads": ("auxiliary_head", "decode_head", "head"),
}
_REST = "reductions and tail"


def plan_rows(
    recipes: Sequence[str],
    target: str = "orin",
    precision: str = "fp16",
    on_stage: Callable[[str], None] = lambda name: None,
) -> list[dict[str, Any]]:
    """Plans of every recipe in both `FORMS`: kernels, megabytes moved, and predicted time in the first power mode; under
    ``divided`` what the kernels with plugins are for (`divided`).

    Args:
        recipes: By name or path; with ``:dense`` behind it, the recipe's model without its reductions.
        target: What the time is predicted for.
        precision: 'fp16' or 'fp32'.
        on_stage: Called with each stage's name as it starts.

    Raises:
        BuildError: TensorRT-RTX refuses a graph, or is not there.
    """
    rows: list[dict[str, Any]] = []
    for name in recipes:
        on_stage(f"{name}: export")
        fixed = _fixed(name)
        exported = kept_export(fixed, {}).model
        for form, rewritten in FORMS.items():
            on_stage(f"{name}: plan, {form}")
            copy = onnx.ModelProto()
            copy.CopyFrom(exported)
            rows.append({"recipe": name.replace(".py", "").replace(_DENSE, ", dense"), "form": form})
            plan = _plan(fixed, copy, precision, rewritten)
            rows[-1] |= {**plan_figures(plan, target), "divided": divided(plan)}
    return rows


def plan_of_recipe(name: str, precision: str = "fp16") -> KernelPlan:
    """The plan of a recipe, with ``:dense`` behind it of its dense model, in the form that TensorRT gets.

    Raises:
        BuildError: See `plan_rows`.
    """
    fixed = _fixed(name)
    return _plan(fixed, kept_export(fixed, {}).model, precision, rewritten=True)


def _fixed(name: str) -> FixedModel:
    recipe = load_recipe(name.removesuffix(_DENSE))
    model = model_from_recipe(recipe)[0]
    return fixed_from_model(model, dense_recipe(recipe) if name.endswith(_DENSE) else recipe)


def _plan(fixed: FixedModel, exported: onnx.ModelProto, precision: str, rewritten: bool) -> KernelPlan:
    graphs = graphs_from_export(fixed, exported, precision, rewritten=rewritten, plans_only=True)
    rtx = rtx_plan(graphs.tensorrt)
    return plan_from_check(rtx, graphs, fixed.recipe, REDUCED if fixed.recipe.reductions else DENSE, precision)


def rtx_plan(graph: onnx.ModelProto) -> RtxCheck:
    """TensorRT-RTX's check of a graph in standard operators, with its plan.

    Raises:
        BuildError: It refuses the graph, or is not there.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(graph.SerializeToString())
        rtx = check_tensorrt_rtx(path)
    if rtx.status != "passed":
        remedy = "pip install 'edgeexport[export]' on x86-64 Linux"
        raise BuildError("TensorRT-RTX", f"{rtx.status}: {rtx.reason}", remedy)
    return rtx


def divided(plan: KernelPlan) -> dict[str, Any]:
    """Kernels of the plan with plugins: what was compiled and what plugins launch, and all of them by part of the model.

    ``taken apart`` is why nothing was compiled around the plugins, where nothing was.
    """
    deployed = plan.with_plugins()
    launched = sum(kernel.kind == "plugin" for kernel in deployed.kernels)
    counts = dict.fromkeys((*_GROUPS, _REST), 0)
    for kernel in deployed.kernels:
        stem = re.sub(r"_\d+$", "", kernel.part)
        counts[next((group for group, stems in _GROUPS.items() if stem in stems), _REST)] += 1
    told = {"compiled": len(deployed.kernels) - launched, "launches of plugins": launched, **counts}
    return told | ({"taken apart": deployed.not_around} if deployed.not_around else {})


def plan_figures(plan: KernelPlan, target: str) -> dict[str, Any]:
    """Kernels, megabytes moved, products, and predicted time in the first power mode of ``target``."""
    prediction = plan_predictions(plan, target)[0]
    deployed = plan.with_plugins()
    return {
        "kernels": len(plan.kernels),
        "with plugins": len(deployed.kernels),
        "MB": round(plan.bytes / 1e6, 1),
        "MB with plugins": round(deployed.bytes / 1e6, 1),
        "GMAC": round(sum(kernel.macs for kernel in plan.kernels) / 1e9, 2),
        f"{prediction.limits.ceilings.power_mode} ms": round(prediction.total_ms, 2),
        "in a CUDA graph": round(prediction.cuda_graph_ms, 2),
    }
