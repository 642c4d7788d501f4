"""The graphs of a model that is exported as several: each with function bodies, and in standard operators only."""

from __future__ import annotations

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


def graphs_from_forms(forms: Sequence[GraphForm], metadata: Mapping[str, str]) -> tuple[ListedGraph, ...]:
    """Exports every graph.

    Raises:
        BuildError: Torch's exporter fails.
    """
    return tuple(_graph(form, metadata) for form in forms)


def _graph(form: GraphForm, metadata: Mapping[str, str]) -> ListedGraph:
    told = {**metadata, "edgeexport.graph": form.name}
    model = exported_model(form.module, form.examples, form.input_names, form.output_names, told, form.opset)
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


def _info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorInfo(value.name, dtype, tuple(dim.dim_value for dim in tensor.shape.dim))
