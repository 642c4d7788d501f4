"""Layers of an engine by the type that they give out, from the engine inspector's JSON; and whether FP16 was built as asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeexport.documents import parsed
from edgeexport.documents.traces import ENGINE_GRAPH
from edgeexport.errors import BundleError

__all__ = ["layers_by_type", "precision_problem"]

_WORDS = {
    "float16": ("fp16", "half"),
    "bfloat16": ("bf16", "bfloat16"),
    "float32": ("fp32", "float"),
    "int8": ("int8",),
    "int32": ("int32",),
    "int64": ("int64",),
    "bool": ("bool",),
}


def layers_by_type(description: str) -> dict[str, int] | None:
    """dtype -> layers whose first output has it; None where the JSON does not tell (TensorRT's words for formats differ)."""
    try:
        layers: list[Any] = [*parsed(description, ENGINE_GRAPH, "engine inspector")["Layers"]]
        texts = [str(layer["Outputs"][0].get("Format/Datatype") or layer["Outputs"][0].get("Datatype") or "")
                 for layer in layers if layer.get("Outputs")]  # fmt: skip
    except (BundleError, KeyError, TypeError, AttributeError, IndexError):
        return None
    counts: dict[str, int] = {}
    for text in texts:
        name = next((name for name, words in _WORDS.items() if any(word in text.lower() for word in words)), "other")
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items())) or None


def precision_problem(precision: str, counts: Mapping[str, int] | None) -> str:
    """What is wrong where FP16 was asked for and none was built; empty otherwise, and where nothing is known.

    Args:
        precision: 'fp32' or 'fp16', as asked.
        counts: dtype -> layers or kernels.
    """
    if precision != "fp16" or not counts or counts.get("float16"):
        return ""
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"FP16 was asked for and none was built: {found}"
