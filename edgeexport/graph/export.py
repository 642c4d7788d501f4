"""ONNX graph of a fixed-form model, through torch's exporter, with custom ops as opaque nodes that get their bodies here.

The exported module is never changed. Workarounds stand here, each with its reason:

- stack traces and other metadata are reduced to ``file:line`` relative to the package and a module path, so that two
  machines export the same bytes;
- every node is named after the module that it comes from, ``blocks.4.attn.qkv/MatMul``, and carries that as metadata;
- ``reduction='none'`` on ScatterElements is dropped: TensorRT 8.x ignores the attribute, and readers need not wonder.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from edgeexport.errors import BuildError
from edgeexport.graph.quiet import quiet_libraries
from edgeexport.graph.source import SOURCE_KEY
from edgeexport.graph.weights_apart import WEIGHTS_FOLDER, put_weights_apart
from edgeexport.ops import DOMAIN_VERSION, OPSET

__all__ = ["SCOPE_KEY", "WALK", "exported_model", "known_scopes", "scope_of"]

SCOPE_KEY = "edgeexport.scope"
"""Node metadata: the module that a node comes from, such as ``blocks.4.attn.qkv`` or ``dtop.6.select``."""

_PACKAGE = Path(__file__).resolve().parents[1]
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
WALK = "walk."
"""The attribute of `edgeexport.fixed.model.FixedModel` that holds the host, which scopes leave out."""

_SCOPE = re.compile(r"'([^']*)'")


def exported_model(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    metadata: dict[str, str],
    opset: int = OPSET,
    *,
    apart: bool = False,
) -> onnx.ModelProto:
    """Exports ``module`` at the fixed shapes of ``examples``; custom ops stay bare nodes of the domain ``edgeexport``.

    Args:
        module: In eval mode; returns a tuple in the order of ``output_names``.
        examples: Inputs of the final shapes and dtypes, in the order of ``input_names``; their values do not matter.
        metadata: Goes into the model's metadata properties.
        opset: Of the standard operators.
        apart: Large weights leave the graph, whatever their size together (`edgeexport.graph.weights_apart`).

    Raises:
        BuildError: Torch's exporter fails.
    """
    try:
        program = _program(module, examples, input_names, output_names, opset)
    except Exception as error:  # whatever the exporter meets
        reason = " ".join(str(error).split())[:300]
        raise BuildError(
            "torch's exporter",
            f"cannot export the model: {type(error).__name__}: {reason}",
            "report it with the recipe",
        ) from error
    put_weights_apart(program.model, always=apart)
    model = ir.to_proto(program.model)
    _clean_metadata(model)
    _drop_scatter_none(model)
    _set_opsets(model, opset)
    model.producer_name, model.producer_version = "edgeexport", ""
    kept = [item for item in model.metadata_props if item.key == WEIGHTS_FOLDER]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=key, value=value)
    return model


def _program(
    module: nn.Module, examples: tuple[Tensor, ...], input_names: Sequence[str], output_names: Sequence[str], opset: int
) -> torch.onnx.ONNXProgram:
    with quiet_libraries(), torch.no_grad():
        program = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            opset_version=opset,
            input_names=list(input_names),
            output_names=list(output_names),
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return program


def scope_of(node: onnx.NodeProto) -> str:
    """The module that a node of our own export comes from; empty if unknown."""
    return next((item.value for item in node.metadata_props if item.key == SCOPE_KEY), "")


def _clean_metadata(model: onnx.ModelProto) -> None:
    """Replaces the exporter's metadata by one relative ``file:line (function)`` and the module, after which nodes are named.

    What an optimisation put in has no module of its own and belongs to that of the node before it, or else after it.
    """
    scopes = known_scopes([_exported_scope(node) for node in model.graph.node])
    taken: Counter[str] = Counter()
    for node, scope in zip(model.graph.node, scopes, strict=True):
        properties = {item.key: item.value for item in node.metadata_props}
        source = _source_line(properties.get("pkg.torch.onnx.stack_trace", ""))
        del node.metadata_props[:]
        node.doc_string = ""
        for key, value in ((SOURCE_KEY, source), (SCOPE_KEY, scope)):
            if value:
                node.metadata_props.add(key=key, value=value)
        name = f"{scope}/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
    for group in (model.graph.value_info, model.graph.input, model.graph.output, model.graph.initializer):
        for item in group:
            item.doc_string = ""
            if hasattr(item, "metadata_props"):
                del item.metadata_props[:]
    del model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""


def _exported_scope(node: onnx.NodeProto) -> str:
    """The innermost module, below the walk where it is in it."""
    text = next((item.value for item in node.metadata_props if item.key == "pkg.torch.onnx.name_scopes"), "")
    scopes = _SCOPE.findall(text)
    return next((name for name in reversed(scopes[:-1]) if name), "").removeprefix(WALK)


def known_scopes(scopes: Sequence[str]) -> list[str]:
    """Of nodes in the program's order: an empty one becomes that of the node before it, or at the start of the first known."""
    first = next((scope for scope in scopes if scope), "")
    known, before = [], first
    for scope in scopes:
        before = scope or before
        known.append(before)
    return known


def _source_line(trace: str) -> str:
    """The innermost frame that lies in this package, else the innermost frame's file name."""
    frames = _FRAME.findall(trace)
    for path, line, function in reversed(frames):
        resolved = Path(path)
        if resolved.is_relative_to(_PACKAGE):
            return f"edgeexport/{resolved.relative_to(_PACKAGE).as_posix()}:{line} ({function})"
    if frames:
        path, line, function = frames[-1]
        return f"{Path(path).name}:{line} ({function})"
    return ""


def _drop_scatter_none(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type in ("ScatterElements", "ScatterND"):
            kept = [item for item in node.attribute if not (item.name == "reduction" and item.s == b"none")]
            del node.attribute[:]
            node.attribute.extend(kept)


def _set_opsets(model: onnx.ModelProto, opset: int) -> None:
    domains = {node.domain for node in model.graph.node} | {""}
    del model.opset_import[:]
    for domain in sorted(domains):
        model.opset_import.add(domain=domain, version=opset if domain == "" else DOMAIN_VERSION)
