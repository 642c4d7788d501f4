"""A graph without its weights: what passes and checks work on, in milliseconds whatever the model's size.

Weights become graph inputs of the same name, type and shape, which is all that shape inference and folding need to
know of them; the tensors themselves are referenced, never copied, and put back once at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
from onnx import external_data_helper, helper

from edgeexport.errors import UsageError

__all__ = ["SMALL_TENSOR_ELEMENTS", "Skeleton", "model_from_skeleton", "skeleton_from_model", "used_names"]

SMALL_TENSOR_ELEMENTS = 8192
"""Initializers up to this many elements stay: shapes, axes, k of a TopK, index tables. Larger ones are weights."""


@dataclass(frozen=True)
class Skeleton:
    """A model whose large initializers are graph inputs.

    ``weights`` maps their names to the tensors of the original model (by reference). ``order`` has the names of all
    the original's initializers. ``placeholders`` are the graph inputs that stand for weights; they come last.
    """

    model: onnx.ModelProto
    weights: dict[str, onnx.TensorProto]
    order: tuple[str, ...]
    placeholders: frozenset[str]


def skeleton_from_model(model: onnx.ModelProto, *, base_dir: Path | None = None) -> Skeleton:
    """Copies everything but the large initializers; ``model`` is unchanged.

    Args:
        model: May refer to external data, loaded or not, that `model_from_file` has checked.
        base_dir: Folder of the model's file. With it, small tensors in external files are read (an index table may
            decide a shape); without it they count as weights.

    Raises:
        UsageError: A small tensor in an external file cannot be read.
    """
    result = onnx.ModelProto()
    _copy_fields(model, result, except_field="graph")
    _copy_fields(model.graph, result.graph, except_field="initializer")
    weights: dict[str, onnx.TensorProto] = {}
    for tensor in model.graph.initializer:
        external = external_data_helper.uses_external_data(tensor)
        if prod(tensor.dims) > SMALL_TENSOR_ELEMENTS or (external and base_dir is None):
            weights[tensor.name] = tensor
            continue
        kept = result.graph.initializer.add()
        kept.CopyFrom(tensor)
        if external and base_dir is not None:
            try:
                kept.raw_data = _external_bytes(kept, base_dir)
            except (OSError, ValueError) as error:
                problem = f"weight '{tensor.name}' cannot be read: {' '.join(str(error).split())}"
                raise UsageError(str(base_dir), problem, "save the model again with onnx.save_model") from error
            kept.data_location = onnx.TensorProto.DEFAULT
            del kept.external_data[:]
    declared = {value.name for value in model.graph.input}
    placeholders = [tensor for name, tensor in weights.items() if name not in declared]
    result.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in placeholders
    )
    order = tuple(tensor.name for tensor in model.graph.initializer)
    return Skeleton(result, weights, order, frozenset(tensor.name for tensor in placeholders))


def _external_bytes(tensor: onnx.TensorProto, folder: Path) -> bytes:
    """Read here and not by onnx, which refuses links: in a download cache every file beside the model is one."""
    info = external_data_helper.ExternalDataInfo(tensor)
    with (folder / info.location).open("rb") as stream:
        stream.seek(info.offset or 0)
        return stream.read(info.length or -1)


def model_from_skeleton(skeleton: Skeleton) -> onnx.ModelProto:
    """Puts the weights that are still used back in place; each is copied once.

    Surviving initializers keep the original's order, new ones (folded constants) follow in the skeleton's order.
    """
    result = onnx.ModelProto()
    _copy_fields(skeleton.model, result, except_field="graph")
    graph = skeleton.model.graph
    _copy_fields(graph, result.graph, except_field="initializer")
    kept_inputs = [value for value in graph.input if value.name not in skeleton.placeholders]
    del result.graph.input[:]
    result.graph.input.extend(kept_inputs)
    used = used_names(graph)
    tensors = {tensor.name: tensor for tensor in graph.initializer} | skeleton.weights
    names = dict.fromkeys((*skeleton.order, *tensors))
    result.graph.initializer.extend(tensors[name] for name in names if name in tensors and name in used)
    return result


def used_names(graph: onnx.GraphProto) -> set[str]:
    """Names that a node, a nested graph or the graph's outputs read."""
    names = {value.name for value in graph.output}
    for node in _all_nodes(graph):
        names.update(node.input)
        for attribute in node.attribute:
            for nested in (attribute.g, *attribute.graphs):
                names.update(value.name for value in nested.output)
    return names


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for nested in (attribute.g, *attribute.graphs):
                yield from _all_nodes(nested)


def _copy_fields(source: onnx.ModelProto | onnx.GraphProto, target: object, *, except_field: str) -> None:
    """Copies every field that is set, but one. A plain CopyFrom would copy gigabytes of weights."""
    for field, value in source.ListFields():
        if field.name == except_field:
            continue
        if isinstance(value, (str, bytes, int, float)):
            setattr(target, field.name, value)
        elif isinstance(value, Iterable):
            getattr(target, field.name).extend(value)
        else:
            getattr(target, field.name).CopyFrom(value)
