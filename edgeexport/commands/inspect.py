"""What `edgeexport inspect` and `edgeexport lint` find out about a bundle, a recipe or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.backends.engine import engine_record
from edgeexport.bundle import open_bundle
from edgeexport.device.packages import error_of_package
from edgeexport.device.targets import target_named

if TYPE_CHECKING:
    from edgeexport.graph.lint_report import LintReport

__all__ = ["inspect_bundle", "inspect_model", "lint_subject"]


def inspect_bundle(path: Path) -> dict[str, Any]:
    """Manifest facts, token schedule and operators of a bundle.

    Raises:
        BundleError: Damaged or incompatible.
    """
    bundle = open_bundle(path)
    manifest: Mapping[str, Any] = bundle.manifest
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


def inspect_model(path: Path) -> dict[str, Any]:
    """Inputs, outputs, operators and multiply-accumulates of an ONNX file.

    Raises:
        UsageError: Not a readable ONNX file.
    """
    from edgeexport.errors import EdgeExportError
    from edgeexport.graph.inline import inlined_model
    from edgeexport.graph.lint import lint_model
    from edgeexport.graph.macs import graph_macs
    from edgeexport.graph.read import model_from_file

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


def lint_subject(
    recipe_or_graph: str, target: str, cfg_options: Sequence[str], on_stage: Callable[[str], None] = lambda name: None
) -> LintReport:
    """Lints an ONNX file, or the graph that a recipe exports to.

    Raises:
        UsageError, RecipeError: Nothing to lint (exit code 2).
    """
    from edgeexport.graph.lint import lint_model

    target_named(target)
    if recipe_or_graph.endswith(".onnx"):
        on_stage("lint")
        return lint_model(Path(recipe_or_graph), target=target)
    from edgeexport.commands.build import exported_graphs
    from edgeexport.fixed.model import fixed_from_model
    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.recipe import load_recipe

    on_stage("export")
    recipe = load_recipe(recipe_or_graph, cfg_options)
    model, origin = model_from_recipe(recipe)
    graphs = exported_graphs(fixed_from_model(model, recipe), origin)
    on_stage("lint")
    return lint_model(graphs.with_functions, target=target)
