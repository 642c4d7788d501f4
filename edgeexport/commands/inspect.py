"""What `edgeexport inspect` finds out about a bundle or an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeexport.backends.engine import engine_record
from edgeexport.bundle import open_bundle
from edgeexport.device.packages import error_of_package

__all__ = ["inspect_bundle", "inspect_model"]


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
