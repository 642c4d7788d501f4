"""What torch's export of a fixed model depends on, as one hash: the name under which an export is kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict

import torch

from edgeexport.bundle.source_hash import program_sha256
from edgeexport.fixed.model import FixedModel

__all__ = ["export_key", "structure_key", "weights_hash"]

_EXPORTERS = ("torch", "onnx", "onnxscript", "onnx-ir", "timm")
# Of a recipe, what no export depends on: where it lies, what it says to people, and which of its outputs are kept later.
# Weights are hashed themselves, so it does not matter either where they came from.
_ELSEWHERE = (
    "name",
    "path",
    "description",
    "checkpoint",
    "seed",
    "extra_outputs",
    "classes",
    "palette",
    "text",
    "warnings",
    "from_file",
)


def export_key(fixed: FixedModel) -> str:
    """Hash (64 hexadecimal digits) of the recipe as resolved, the weights, this package's source, the versions of what
    exports, inputs and outputs: equal only where `edgeexport.graph.graphs.export_of_fixed` gives the same model, but for
    the metadata that it is told.
    """
    return _hash({**_told(fixed), "weights": weights_hash(fixed)})


def structure_key(fixed: FixedModel, more: Mapping[str, str]) -> str:
    """The same for a graph's structure: of the weights it says only which are all zero, for those vanish. ``more`` is added."""
    zero = sorted(name for name, weight in fixed.named_parameters() if _is_zero(weight))
    return _hash({**_told(fixed), "zero": zero, "extra_outputs": list(fixed.recipe.extra_outputs), **more})


def _is_zero(weight: torch.Tensor) -> bool:
    """Most weights show it by their first value, and need not be read to their end for every plan."""
    return not weight.reshape(-1)[:1].any() and not weight.any()


def _hash(told: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()


def _told(fixed: FixedModel) -> dict[str, object]:
    recipe = {name: value for name, value in asdict(fixed.recipe).items() if name not in _ELSEWHERE}
    return {
        "form": type(fixed).__name__,
        "recipe": recipe,
        "inputs": [
            [name, str(example.dtype), list(example.shape)]
            for name, example in zip(fixed.input_names, fixed.example_inputs(), strict=True)
        ],
        "outputs": list(fixed.output_names),
        "package": program_sha256(),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def weights_hash(module: torch.nn.Module) -> str:
    """Hash of every parameter and buffer, by name, also of buffers that no checkpoint holds."""
    digest = hashlib.sha256()
    for name, tensor in sorted([*module.named_parameters(), *module.named_buffers()], key=lambda item: item[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _EXPORTERS}
