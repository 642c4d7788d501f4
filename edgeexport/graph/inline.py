"""The plugin-free graph for TensorRT: function bodies inlined, constants folded, every shape inferred.

Passes are onnx_ir's and onnxscript's; they run on the graph's skeleton (see `edgeexport.graph.skeleton`), so that the
weights are neither read nor copied until the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import onnx
import onnx_ir
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants_ir

from edgeexport.errors import BuildError
from edgeexport.graph.quiet import quiet_libraries
from edgeexport.graph.skeleton import SMALL_TENSOR_ELEMENTS, model_from_skeleton, skeleton_from_model

__all__ = ["FOLDED_ELEMENTS", "folded_skeleton", "inlined_model"]

FOLDED_ELEMENTS = 65536
"""A folded constant has at most this many elements: the token tables of a 4096-token image, never a feature map."""

_DOMAIN = "edgeexport"
_FOLD_METADATA = "pkg.onnxscript.optimizer."


def inlined_model(model: onnx.ModelProto, kept: Sequence[str] = ()) -> onnx.ModelProto:
    """Returns the model in standard operators only, with the shape of every value; ``model`` is unchanged.

    All model-local functions are inlined, nodes that depend on constants alone are folded, and what nothing reads any
    more is removed. Names of graph inputs and outputs stay. Weights are copied once. The same model gives the same
    bytes.

    Args:
        model: Complete with the bodies of its custom ops. External data is neither needed nor loaded.
        kept: Values that stay although nothing may read them: a runner may make them outputs.

    Raises:
        BuildError: A custom op has no body, the functions do not fit the model (cycle, other opset), or two nodes
            disagree about a shape.
    """
    skeleton = skeleton_from_model(model)
    try:
        folded = folded_skeleton(skeleton.model, kept)
    except Exception as error:  # the passes raise ValueError, RuntimeError, PreconditionError, PassError...
        raise BuildError(
            "inlined graph", f"cannot be derived: {_innermost(error)}", "check the ONNX bodies of the custom ops"
        ) from error
    bodiless = [node for node in folded.graph.node if node.domain == _DOMAIN]
    if bodiless:
        node = bodiless[0]
        raise BuildError(
            f"node '{node.name or node.output[0]}'",
            f"custom op {node.domain}::{node.op_type} has no function body, expected one in the model",
            "pass the model with its functions (model.onnx), not the one for the plugin (model.trt.onnx)",
        )
    before, after = (_signature(graph, skeleton.placeholders) for graph in (model.graph, folded.graph))
    if before != after:
        raise BuildError(
            "inlined graph",
            f"inputs and outputs became {after}, expected {before}",
            "a function body may not return one of its inputs, or one value twice: put an Identity between",
        )
    try:
        inferred = onnx.shape_inference.infer_shapes(folded, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise BuildError(
            "inlined graph",
            f"shapes do not fit together: {' '.join(str(error).split())}",
            "check shapes and types in the ONNX bodies of the custom ops",
        ) from error
    return model_from_skeleton(replace(skeleton, model=inferred))


def folded_skeleton(model: onnx.ModelProto, kept: Sequence[str] = ()) -> onnx.ModelProto:
    """Inlines functions and folds constants of a model whose weights are graph inputs; the input is unchanged.

    Nodes from a body are named ``call/value``: by the node that calls it (where that has no name, by the function, numbered
    where it is called again), and by the value that they compute. Custom nodes without a body stay. Raises whatever the
    passes raise.
    """
    model = _with_every_output(model)
    outputs = len(model.graph.output)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in kept)
    program = onnx_ir.serde.deserialize_model(model)
    for function in program.functions.values():
        for node in function:
            node.name = f"{function.name}/{node.outputs[0].name}"
    names = _names_after_inlining(program)
    passes.InlinePass()(program)
    if len(names) == len(program.graph):  # a body that calls functions itself keeps the inliner's names
        for node, name in zip(program.graph, names, strict=True):
            node.name = name or node.name
    with quiet_libraries():
        fold_constants_ir(
            program,
            onnx_shape_inference=True,
            input_size_limit=SMALL_TENSOR_ELEMENTS,
            output_size_limit=FOLDED_ELEMENTS,
            should_fold=_should_fold,
        )
    Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
    )(program)
    _drop_fold_metadata(program.graph)
    del program.graph.outputs[outputs:]
    return onnx_ir.serde.serialize_model(program)


def _names_after_inlining(program: onnx_ir.Model) -> list[str]:
    """For every node that will stand in the graph its name, the calls replaced by their bodies; empty: the inliner's own."""
    names: list[str] = []
    for node in program.graph:
        function = program.functions.get(node.op_identifier())
        if function is None:
            names.append(node.name or "")
        else:
            values = [inner.outputs[0].name for inner in function]
            names += [f"{node.name}/{value}" if node.name else "" for value in values]
    return names


def _signature(graph: onnx.GraphProto, hidden: frozenset[str]) -> str:
    inputs = [value.name for value in graph.input if value.name not in hidden]
    outputs = [value.name for value in graph.output]
    return f"({', '.join(inputs)}) -> ({', '.join(outputs)})"


def _with_every_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which calls of functions name every output.

    onnx_ir's inliner (1.1) fails on a call that leaves out trailing outputs, and drops the value of one left blank even
    where the body reads it. Can go when it handles both; tests/graph/test_inline.py has the cases.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    outputs = {(function.domain, function.name, function.overload): function.output for function in result.functions}
    for nodes in (result.graph.node, *(function.node for function in result.functions)):
        for index, node in enumerate(nodes):
            for position, name in enumerate(outputs.get((node.domain, node.op_type, node.overload), ())):
                if position == len(node.output):
                    node.output.append("")
                node.output[position] = node.output[position] or f"{node.op_type}/{name}/unused_{index}"
    return result


def _should_fold(node: onnx_ir.Node) -> bool | None:
    """Small ConstantOfShape folds too: onnxscript leaves it, and shapes computed from it would then stay unknown."""
    if node.op_type != "ConstantOfShape" or node.inputs[0] is None or node.inputs[0].const_value is None:
        return None
    return prod(node.inputs[0].const_value.numpy().tolist()) <= SMALL_TENSOR_ELEMENTS


def _drop_fold_metadata(graph: onnx_ir.Graph) -> None:
    """Removes the folding pass's diary (names of folded values), which would travel with the weights for nothing."""
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for value in values:
        for key in [key for key in value.metadata_props if key.startswith(_FOLD_METADATA)]:
            del value.metadata_props[key]


def _innermost(error: BaseException) -> str:
    """The message of the error that started the chain; the pass runner's own says only which pass it was."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
