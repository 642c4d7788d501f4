"""The graphs of a bundle, derived from one export: with function bodies, for plugins, and in standard operators only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError
from edgeexport.fixed.model import FixedModel
from edgeexport.graph.decoder import append_decoder
from edgeexport.graph.export import exported_model
from edgeexport.graph.half_precision import HalfPrecision, half_precision_model
from edgeexport.graph.inline import inlined_model
from edgeexport.graph.outputs import select_outputs
from edgeexport.graph.plugin_graph import plugin_model
from edgeexport.ops import (
    DOMAIN,
    token_match,
    token_merge,
    token_partition,
    token_protect,
    token_unmerge,
    upsample_argmax,
)

__all__ = ["BundleGraphs", "export_of_fixed", "graphs_from_export"]

_PLAIN_OPS = (token_partition, token_protect, token_unmerge, token_match, token_merge)


@dataclass(frozen=True)
class BundleGraphs:
    """One model in three forms.

    Attributes:
        with_functions: `model.onnx`: custom ops with bodies, runs in ONNX Runtime.
        for_plugins: `model.trt.onnx`: bare nodes where a TensorRT plugin executes the op.
        plain: standard operators only, with every shape inferred.
        input: The graph's first input.
        extra_inputs: Its further inputs; only a diffusion block has one.
        outputs: Graph outputs, the prediction first.
        inner: Inner values that a runner may ask for: decisions and the scores behind a class map.
        half: What the conversion to float16 did; None where there was none.
    """

    with_functions: onnx.ModelProto
    for_plugins: onnx.ModelProto
    plain: onnx.ModelProto
    input: TensorInfo
    extra_inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    inner: tuple[TensorInfo, ...]
    half: HalfPrecision | None = None


def export_of_fixed(fixed: FixedModel, metadata: dict[str, str]) -> onnx.ModelProto:
    """Torch's export of a fixed model: every output that it can give, custom ops as bare nodes; with its decoder behind."""
    model = exported_model(fixed, fixed.example_inputs(), fixed.input_names, fixed.exported_names, metadata)
    if fixed.recipe.decoder is not None:
        append_decoder(model, fixed.recipe.decoder)
    return model


def graphs_from_export(
    fixed: FixedModel, model: onnx.ModelProto, precision: str = "fp32", keep_fp32: Sequence[str] = ()
) -> BundleGraphs:
    """Derives every graph of the bundle from `export_of_fixed`, which it takes over and changes.

    With ``precision`` 'fp16' the exported graph becomes one of mixed precision, before anything is derived from it: custom ops
    keep float32, so that their bodies and plugins are the same, and so do the results of nodes whose names fit ``keep_fp32``.

    Raises:
        BuildError: The exporter's graph lacks something that a bundle needs, or a weight is not a number.
        ParityError: Weights do not fit into float16.
        UsageError: A pattern of ``keep_fp32`` fits no node.
    """
    available = {value.name: _tensor_info(value) for value in model.graph.output}
    wanted = list(fixed.recipe.graph_outputs)
    missing = [name for name in wanted if name not in available]
    if missing:
        raise BuildError("graph", f"has no output {', '.join(missing)}", f"available: {', '.join(available)}")
    wished = set(fixed.decisions)
    constants = {
        tensor.name: _copy(tensor)
        for tensor in model.graph.initializer
        if tensor.name in wished and 0 not in tensor.dims  # of what is empty there is nothing to tell
    }
    select_outputs(model, wanted)
    bodies = _functions(fixed, model)
    decisions = ["class_scores", *fixed.decisions]
    _tell_constants(model, [constants[name] for name in decisions if name in constants])
    alive = {name for node in model.graph.node for name in node.output}
    inner = [available[name] for name in decisions if name in available and name in alive and name not in wanted]
    half = None
    if precision == "fp16":
        model, half = half_precision_model(model, [item.name for item in inner], keep_fp32)
    model.functions.extend(bodies)
    inputs = [_tensor_info(value) for value in model.graph.input]
    return BundleGraphs(
        with_functions=model,
        for_plugins=plugin_model(model),
        plain=inlined_model(model),
        input=inputs[0],
        extra_inputs=tuple(inputs[1:]),
        outputs=tuple(available[name] for name in wanted),
        inner=tuple(inner),
        half=half,
    )


def _copy(tensor: onnx.TensorProto) -> onnx.TensorProto:
    copied = onnx.TensorProto()
    copied.CopyFrom(tensor)
    return copied


def _tell_constants(model: onnx.ModelProto, decisions: list[onnx.TensorProto]) -> None:
    """Decisions that no image changes are constants of the export; a node gives each out, for whoever asks."""
    kept = {tensor.name: tensor for tensor in model.graph.initializer}
    for decision in decisions:
        name, table = decision.name, f"{decision.name}/table"
        for node in model.graph.node:
            for position, value in enumerate(node.input):
                if value == name:
                    node.input[position] = table
        tensor = kept[name] if name in kept else model.graph.initializer.add()
        tensor.CopyFrom(decision)
        tensor.name = table
        model.graph.node.add(op_type="Identity", name=f"{name}/Identity", input=[table], output=[name])


def _functions(fixed: FixedModel, model: onnx.ModelProto) -> list[onnx.FunctionProto]:
    """Bodies of the custom ops that the graph uses."""
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    bodies = [op.onnx_function() for op in _PLAIN_OPS if op.NAME in used]
    tail = fixed.walk.class_map_tail
    if tail is not None:
        shape = (tail.num_classes, *tail.grid, *tail.size)
        bodies.append(upsample_argmax.onnx_function(*shape, tail.candidates, counted=_drop_unread_count(model)))
    return [body for body in bodies if body.name in used]


def _drop_unread_count(model: onnx.ModelProto) -> bool:
    """Drops UpsampleArgmax's second output where nothing reads it; tells whether it stays.

    ONNX Runtime 1.31 computes it otherwise, for it prunes no nodes inside inlined functions.
    """
    wanted = {value.name for value in model.graph.output}
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type == upsample_argmax.NAME and node.output[1] not in wanted:
            del node.output[1:]
            return False
    return True


def _tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorInfo(value.name, dtype, tuple(dim.dim_value for dim in tensor.shape.dim))
