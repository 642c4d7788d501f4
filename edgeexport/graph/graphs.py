"""The graphs of a bundle, derived from one export: with function bodies, for plugins, and in standard operators only."""

from __future__ import annotations

import gc
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import onnx
import onnx_ir as ir

from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError
from edgeexport.fixed.model import FixedModel
from edgeexport.graph.decoder import append_decoder
from edgeexport.graph.export import exported_model
from edgeexport.graph.folded_bias import fold_biases
from edgeexport.graph.folded_constants import constant_values, fold_constants
from edgeexport.graph.half_precision import HalfPrecision, convert_to_half
from edgeexport.graph.half_precision_policy import node_label
from edgeexport.graph.inline import inlined_model
from edgeexport.graph.outputs import select_outputs
from edgeexport.graph.plugin_graph import plugin_model
from edgeexport.graph.rewriting import remove_unused
from edgeexport.graph.stand_ins import put_pieces_in
from edgeexport.graph.tensorrt_graph import rewrite_for_tensorrt
from edgeexport.graph.told_targets import tell_targets
from edgeexport.graph.weights_apart import program_of, put_weights_apart, weights_folder
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
_TENSORRT_OPS = (token_partition, token_protect, upsample_argmax)
"""Ops with a form of their own for TensorRT; and those that have one once merging is told by matching."""

_MERGING = (token_match, token_merge)


@dataclass(frozen=True)
class BundleGraphs:
    """One model in the forms that its runtimes want.

    Attributes:
        with_functions: `model.onnx`: custom ops with bodies, runs in ONNX Runtime.
        plain: The same in standard operators only, with every shape inferred.
        tensorrt_functions: In the forms that TensorRT compiles to fewer kernels: custom ops with bodies.
        tensorrt: The same in standard operators only: `model.trt.onnx` without plugins.
        for_plugins: The same with bare nodes where a TensorRT plugin executes the op: `model.trt.onnx` with plugins.
        input: The graph's first input.
        extra_inputs: Its further inputs; only a diffusion block has one.
        outputs: Graph outputs, the prediction first.
        inner: Inner values that a runner may ask for: decisions and the scores behind a class map.
        half: What the conversion to float16 did; None where there was none.
    """

    with_functions: onnx.ModelProto
    plain: onnx.ModelProto
    tensorrt_functions: onnx.ModelProto
    tensorrt: onnx.ModelProto
    for_plugins: onnx.ModelProto
    input: TensorInfo
    extra_inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    inner: tuple[TensorInfo, ...]
    half: HalfPrecision | None = None


def export_of_fixed(fixed: FixedModel, metadata: dict[str, str]) -> onnx.ModelProto:
    """Torch's export of a fixed model: every output that it can give, custom ops as bare nodes; with its decoder behind."""
    model = exported_model(fixed, fixed.example_inputs(), fixed.input_names, fixed.exported_names, metadata)
    put_pieces_in(model, fixed.walk)
    if fixed.recipe.decoder is not None:
        append_decoder(model, fixed.recipe.decoder)
    return model


def graphs_from_export(
    fixed: FixedModel,
    model: onnx.ModelProto,
    precision: str = "fp32",
    keep_fp32: Sequence[str] = (),
    *,
    rewritten: bool = True,
    plans_only: bool = False,
) -> BundleGraphs:
    """Derives every graph of the bundle from `export_of_fixed`, which it takes over and changes.

    The graph is rewritten into one of fewer kernels first; ``rewritten=False`` leaves it as it was exported, to compare.

    With ``precision`` 'fp16' the exported graph becomes one of mixed precision, before anything is derived from it: custom ops
    keep float32, so that their bodies and plugins are the same, and so do the results of nodes whose names fit ``keep_fp32``.

    Who only plans kernels says ``plans_only``, and gets the graph for TensorRT in the place of ``plain`` too.

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
    counted = _drop_unread_count(model)
    decisions = ["class_scores", *fixed.decisions]
    _tell_constants(model, [constants[name] for name in decisions if name in constants])
    alive = {name for node in model.graph.node for name in node.output}
    inner = [available[name] for name in decisions if name in available and name in alive and name not in wanted]
    kept = [item.name for item in inner]
    program = program_of(model)
    if rewritten:
        fold_constants(program, kept)
        fold_biases(program, kept)
        remove_unused(program, kept)
    for_tensorrt = program.clone()
    if rewritten:
        rewrite_for_tensorrt(for_tensorrt, kept)
        remove_unused(for_tensorrt, kept)
    half = None
    if precision == "fp16":
        half = convert_to_half(program, kept, keep_fp32)
        convert_to_half(for_tensorrt, kept, _fitting(for_tensorrt, keep_fp32))
    for form in (program, for_tensorrt):
        put_weights_apart(form)
    for_plugins = ir.to_proto(for_tensorrt)
    told = rewritten and tell_targets(for_tensorrt)
    model, tensorrt = ir.to_proto(program), ir.to_proto(for_tensorrt)
    del program, for_tensorrt
    if weights_folder(model) is not None:
        gc.collect()  # programs are cyclic, and hold what they read of the weights mapped
    model.functions.extend(_functions(fixed, model, counted))
    for_plugins.functions.extend(_functions(fixed, model, counted, _TENSORRT_OPS if rewritten else ()))
    tensorrt.functions.extend(
        _functions(fixed, model, counted, (*(_TENSORRT_OPS if rewritten else ()), *(_MERGING if told else ())))
    )
    inputs = [_tensor_info(value) for value in model.graph.input]
    inlined = _with_constants(inlined_model(tensorrt, kept), model, kept)
    return BundleGraphs(
        with_functions=model,
        for_plugins=_with_constants(plugin_model(for_plugins), model, kept),
        plain=inlined if plans_only else inlined_model(model),
        tensorrt_functions=tensorrt,
        tensorrt=inlined,
        input=inputs[0],
        extra_inputs=tuple(inputs[1:]),
        outputs=tuple(available[name] for name in wanted),
        inner=tuple(inner),
        half=half,
    )


def _with_constants(folded: onnx.ModelProto, whole: onnx.ModelProto, kept: Sequence[str]) -> onnx.ModelProto:
    """``folded``, in which nodes give out again what folding took along: decisions that no image changes.

    An engine is asked for every one. ``whole`` still computes them.
    """
    alive = {name for node in folded.graph.node for name in node.output}
    lost = constant_values(whole, [name for name in kept if name not in alive])
    decisions = [onnx.numpy_helper.from_array(array, name) for name, array in lost.items()]
    _tell_constants(folded, decisions)
    folded.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(decision.name, decision.data_type, decision.dims) for decision in decisions
    )
    return folded


def _fitting(program: ir.Model, patterns: Sequence[str]) -> list[str]:
    """Of patterns of nodes, those that fit one of another form of the graph, where what replaces a node is named after it."""
    names = [node_label(node) for node in program.graph] + [str(value.name) for value in program.graph.inputs]
    wanted = [*patterns, *(f"{pattern}/*" for pattern in patterns)]
    return [pattern for pattern in wanted if any(fnmatchcase(name, pattern) for name in names)]


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
        tensor = kept.get(name) or kept.get(table) or model.graph.initializer.add()
        tensor.CopyFrom(decision)
        tensor.name = table
        model.graph.node.add(op_type="Identity", name=f"{name}/Identity", input=[table], output=[name])


def _functions(
    fixed: FixedModel, model: onnx.ModelProto, counted: bool, for_tensorrt: Collection[Any] = ()
) -> list[onnx.FunctionProto]:
    """Bodies of the custom ops that the graph uses; those ``for_tensorrt`` in the form that a compiler of kernels wants."""
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    bodies = [
        op.tensorrt_function() if op in for_tensorrt else op.onnx_function() for op in _PLAIN_OPS if op.NAME in used
    ]
    tail = fixed.walk.class_map_tail
    if tail is not None:
        make = upsample_argmax.tensorrt_function if upsample_argmax in for_tensorrt else upsample_argmax.onnx_function
        bodies.append(make(tail.num_classes, *tail.grid, *tail.size, tail.candidates, counted=counted))
    return [body for body in bodies if body.name in used]


def _drop_unread_count(model: onnx.ModelProto) -> bool:
    """Drops UpsampleArgmax's second output where nothing reads it; tells whether it stays, True also without the op.

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
