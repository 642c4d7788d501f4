"""manifest.json: what was built from what, and what was checked."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgeexport.bundle import SCHEMA
from edgeexport.commands.request import BuildRequest
from edgeexport.fixed.model import FixedModel
from edgeexport.fixed.weights import WeightsOrigin
from edgeexport.graph.graphs import BundleGraphs
from edgeexport.version import __version__

__all__ = ["manifest_of"]

_VERSIONED = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "onedl-mmengine", "onedl-mmsegmentation", "numpy")


def manifest_of(
    request: BuildRequest,
    fixed: FixedModel,
    origin: WeightsOrigin,
    parts: Mapping[str, BundleGraphs],
    checks: dict[str, object],
) -> dict[str, Any]:
    """The manifest but for its last two entries, the plugin library and the hashes of the files (JSON-ready)."""
    recipe, graphs = request.recipe, parts["model"]
    policy = {"policy": {"output": _info(parts["policy"].outputs[0])}} if "policy" in parts else {}
    rule = recipe.input.preprocess
    return {
        "schema": SCHEMA,
        "name": recipe.name,
        "description": recipe.description,
        "edgeexport": __version__,
        "recipe": recipe.text,
        "weights": origin.as_dict(),
        "target": request.target.name,
        "precision": request.precision,
        "plugins": request.plugins,
        "input": {
            **_info(graphs.input),
            "height": recipe.input.height,
            "width": recipe.input.width,
            "num_channels": recipe.input.channels,
            "frames": recipe.input.frames,
            "context": None if recipe.input.context is None else list(recipe.input.context),
            "channels": "RGB" if rule is None or not rule.bgr_to_rgb else "BGR",
            "preprocess": None
            if rule is None
            else {"mean": list(rule.mean), "std": list(rule.std), "bgr_to_rgb": rule.bgr_to_rgb},
            "crop": None if recipe.input.crop is None else asdict(recipe.input.crop),
        },
        "extra_inputs": [_info(item) for item in graphs.extra_inputs],
        "outputs": [_info(item) for item in graphs.outputs],
        "inner_outputs": [_info(item) for item in graphs.inner],
        **policy,
        **fixed.manifest,
        "classes": list(recipe.classes),
        "palette": [list(colour) for colour in recipe.palette],
        "checks": checks,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _VERSIONED},
        },
    }


def _info(item: Any) -> dict[str, object]:
    return {"name": item.name, "dtype": item.dtype, "shape": list(item.shape)}
