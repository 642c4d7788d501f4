"""What `edgeexport inspect` finds out about a bundle or an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeexport.backends.engine import engine_record
from edgeexport.bundle import open_bundle
from edgeexport.cost.kernel_plan import KERNELS_FILE, KernelPlan, read_plans
from edgeexport.cost.pays import plan_deployed
from edgeexport.cost.plan_time import parts_of_plan, plan_predictions
from edgeexport.device.packages import error_of_package
from edgeexport.errors import BundleError
from edgeexport.report.graph_figures import decoding_of_bundle, figures_of_graphs

__all__ = ["inspect_bundle", "inspect_file", "inspect_model", "inspect_recipe", "kernels_of_bundle"]


def inspect_bundle(path: Path) -> dict[str, Any]:
    """Manifest facts, token schedule and operators of a bundle.

    Raises:
        BundleError: Damaged or incompatible.
    """
    bundle = open_bundle(path)
    manifest: Mapping[str, Any] = bundle.manifest
    if bundle.prompt is not None:
        listed = ("graphs", "prompt", "cache_costs")
        told = ("name", "description", "weights", "target", "precision", "checks", "versions", "edgeexport")
        more: dict[str, Any] = {"figures": figures_of_graphs(bundle), "decoding": decoding_of_bundle(bundle)}
        record = engine_record(bundle)
        more["engine"] = None if record is None else record.as_dict()
        return {"bundle": str(path), **{key: manifest[key] for key in (*told, *listed)}, **more}
    shown = (
        "name",
        "description",
        "weights",
        "target",
        "precision",
        "input",
        "outputs",
        "checks",
        "versions",
        "edgeexport",
    )
    facts: dict[str, Any] = {"bundle": str(path), **{key: manifest[key] for key in shown}}
    facts["plugin_library"] = manifest.get("plugin_library")
    facts["pays"] = manifest.get("pays")
    facts["policy"] = manifest.get("policy")
    record = engine_record(bundle)
    facts["engine"] = None if record is None else record.as_dict()
    facts["tokens"] = bundle.json("tokens.json")
    try:
        facts["operators"] = inspect_model(path / "model.onnx")["operators"]
    except Exception as error:
        if error_of_package(error) is None:
            raise
        facts["operators"] = None  # on a device: no onnx package, or one that does not load
    return facts


def inspect_recipe(subject: str, cfg_options: Sequence[str] = ()) -> dict[str, Any]:
    """The ``tokens`` of a recipe or a model's name, as in tokens.json, and what it is called: ``recipe``.

    Raises:
        RecipeError: See `edgeexport.recipe.load_recipe`.
    """
    from edgeexport.fixed.tokens import tokens_json  # these need torch
    from edgeexport.recipe import load_recipe

    recipe = load_recipe(subject, cfg_options)
    return {"recipe": recipe.name, "warnings": list(recipe.warnings), "tokens": tokens_json(recipe)}


def kernels_of_bundle(path: Path) -> dict[str, Any]:
    """The bundle's kernel plans by part of the model, JSON-ready: ``plans``, why others are ``missing``, and of which the graph
    around plugins was not compiled (``taken_apart``).

    Of a bundle whose graph asks for plugins the plans are composed. Times are those of the fastest power mode; where nothing is
    known of the target's limits, ``power_mode`` is None and there are none.

    Raises:
        BundleError: Damaged, or without kernels.json (built for another kind of target, or by an earlier version).
    """
    bundle = open_bundle(path)
    plans = read_plans(path)
    if plans is None:
        remedy = "build it again for a Jetson, where the wheels of TensorRT-RTX are (edgeexport[export])"
        raise BundleError(str(path / KERNELS_FILE), "is missing: this bundle has no kernel plan", remedy)
    plugins, target = bool(bundle.manifest.get("plugins", True)), str(bundle.manifest["target"])
    shown = [_kernels(plan_deployed(plan, plugins), target) for plan in plans.plans]
    apart = list(plans.taken_apart) if plugins else []
    return {
        "bundle": str(path),
        "target": target,
        "plans": shown,
        "missing": list(plans.missing),
        "taken_apart": apart,
    }


def _kernels(plan: KernelPlan, target: str) -> dict[str, Any]:
    parts = parts_of_plan(plan)
    predicted = next((item.as_dict() for item in plan_predictions(plan, target)[:1]), None)
    if predicted is not None:
        parts = predicted["parts"]
    kinds: dict[str, int] = {}
    for kernel in plan.kernels:
        kinds[kernel.kind] = kinds.get(kernel.kind, 0) + 1
    total = {key: sum(part[key] for part in parts) for key in ("launches", "bytes", "macs")}
    times = {"ms": predicted["total_ms"], "bound": ""} if predicted is not None else {}
    return {
        "model": plan.model,
        "precision": plan.precision,
        "architecture": plan.architecture,
        "compiler": plan.compiler,
        "composed": plan.composed,
        "not_around": plan.not_around if plan.composed else "",
        "kernels": len(plan.kernels),
        "kinds": kinds,
        "product_dtypes": plan.product_dtypes,
        "power_mode": None if predicted is None else predicted["power_mode"],
        "cuda_graph_ms": None if predicted is None else predicted["cuda_graph_ms"],
        "parts": parts,
        "total": {"part": "total", "title": "total", **total, **times},
    }


def inspect_model(path: Path) -> dict[str, Any]:
    """Inputs, outputs, operators and multiply-accumulates of an ONNX file.

    Raises:
        UsageError: Not a readable ONNX file.
    """
    from edgeexport.errors import EdgeExportError
    from edgeexport.graph.inline import inlined_model
    from edgeexport.graph.lint import lint_model
    from edgeexport.graph.macs import graph_macs
    from edgeexport.ops.onnx_reading import model_from_file

    report = lint_model(path)
    model = model_from_file(path)
    facts: dict[str, Any] = {
        "model": str(path),
        "metadata": {item.key: item.value for item in model.metadata_props},
        "operators": report.op_counts,
        "nodes": report.node_count,
        "static": report.ok,
        "custom_ops": sorted({f"{node.domain}::{node.op_type}" for node in model.graph.node if node.domain}),
    }
    try:
        cost = graph_macs(inlined_model(model))
        facts["macs"] = {name: cost.of_category(name) for name in ("product", "norm", "resize")}
    except EdgeExportError as error:
        facts["macs"] = None
        facts["macs_unknown"] = str(error)
    return facts


def inspect_file(path: Path, prefix: int | None = None, unmerge_before: str | None = None) -> dict[str, Any]:
    """`inspect_model`, and ``recognised``: the blocks of a Vision Transformer in it (see
    `edgeexport.hosts.onnx_file.table.recognition`); None where the packages that this needs are not there.

    Raises:
        UsageError: Not a readable ONNX file.
    """
    facts = inspect_model(path)
    try:
        from edgeexport.hosts.onnx_file.table import recognition
        from edgeexport.hosts.onnx_file.vit import Reading
    except ImportError as error:
        if error_of_package(error) is None:
            raise
        return {**facts, "recognised": None}
    return {**facts, "recognised": recognition(path, Reading(prefix=prefix, unmerge_before=unmerge_before))}
