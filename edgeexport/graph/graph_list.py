"""The graphs of a model that is exported as several: each with function bodies, and in standard operators only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.graph.export import exported_model
from edgeexport.graph.inline import inlined_model
from edgeexport.hosts.graph_form import GraphForm
from edgeexport.ops import DOMAIN, cache_match, cache_merge

__all__ = ["ListedGraph", "graphs_from_forms"]

_OPS: tuple[Any, ...] = (cache_match, cache_merge)

_IN_MEMORY_BYTES = 128 << 20
"""Weights of all graphs together. Each graph is there in two forms, and decoders share nearly all of their weights."""


@dataclass(frozen=True)
class ListedGraph:
    """One of several graphs.

    Attributes:
        name: Of its files: ``NAME.onnx`` and ``NAME.trt.onnx``.
        with_functions: Custom ops with bodies, for ONNX Runtime.
        plain: Standard operators only, every shape inferred, for TensorRT.
        inputs, outputs: In order.
        opset: Of the standard operators.
    """

    name: str
    with_functions: onnx.ModelProto
    plain: onnx.ModelProto
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    opset: int

    @property
    def weight_bytes(self) -> int:
        """Of its initializers, wherever they lie."""
        return sum(map(_bytes_of, self.with_functions.graph.initializer))


def graphs_from_forms(forms: Sequence[GraphForm], metadata: Mapping[str, str]) -> tuple[ListedGraph, ...]:
    """Exports every graph; where all together are large, weights lie in this process's file, each once.

    Raises:
        BuildError: Torch's exporter fails.
    """
    apart = sum(map(_weight_bytes, forms)) > _IN_MEMORY_BYTES
    return tuple(_graph(form, metadata, apart) for form in forms)


def _weight_bytes(form: GraphForm) -> int:
    return sum(weight.numel() * weight.element_size() for weight in form.module.parameters())


def _graph(form: GraphForm, metadata: Mapping[str, str], apart: bool) -> ListedGraph:
    told = {**metadata, "edgeexport.graph": form.name}
    model = exported_model(
        form.module, form.examples, form.input_names, form.output_names, told, form.opset, apart=apart
    )
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    model.functions.extend(op.onnx_function() for op in _OPS if op.NAME in used)
    return ListedGraph(
        name=form.name,
        with_functions=model,
        plain=inlined_model(model),
        inputs=tuple(map(_info, model.graph.input)),
        outputs=tuple(map(_info, model.graph.output)),
        opset=form.opset,
    )


def _bytes_of(tensor: onnx.TensorProto) -> int:
    return math.prod(tensor.dims) * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorInfo(value.name, dtype, tuple(dim.dim_value for dim in tensor.shape.dim))
