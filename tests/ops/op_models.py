"""One custom op as a model of its own: its node, its ONNX body, and ways to run and to take it apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch import Tensor

from edgeexport.graph.inline import inlined_model
from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET

__all__ = ["assert_static_standard_graph", "exported_node", "one_node_model", "run_model"]

# Values in an order without meaning; Scatter with a reduction and every operator whose output size depends on data.
_REFUSED = {"NonZero", "Unique", "Compress", "Loop", "If", "Scan", "Einsum", "ScatterND"}


def one_node_model(
    function: onnx.FunctionProto,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, tuple[int, Sequence[int]]],
    attributes: Mapping[str, int | list[int]] | None = None,
    further: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """``inputs`` state names, shapes and dtypes; ``outputs`` map names to (ONNX element type, shape).

    ``further`` are functions that ``function`` calls.
    """
    node = helper.make_node(function.name, list(inputs), list(outputs), domain=DOMAIN, **(attributes or {}))
    types = {torch.float32: 1, torch.int32: 6, torch.int64: 7, torch.bool: 9, torch.float16: 10, torch.uint8: 2}
    graph = helper.make_graph(
        [node],
        "op",
        [helper.make_tensor_value_info(name, types[t.dtype], list(t.shape)) for name, t in inputs.items()],
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, (kind, shape) in outputs.items()],
    )
    model = helper.make_model(
        graph,
        functions=[function, *further],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def run_model(model: onnx.ModelProto, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return [torch.from_numpy(np.asarray(value)) for value in found]


def assert_static_standard_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The inlined model: standard operators alone, a constant shape for every value, nothing that a target refuses."""
    plain = inlined_model(model)
    assert not plain.functions
    assert {node.domain for node in plain.graph.node} == {""}
    assert not _REFUSED & {node.op_type for node in plain.graph.node}
    for node in plain.graph.node:
        names = {attribute.name for attribute in node.attribute}
        assert not (node.op_type == "ScatterElements" and "reduction" in names)
    constants = {tensor.name for tensor in plain.graph.initializer}
    for node in plain.graph.node:
        if node.op_type == "TopK":
            assert node.input[1] in constants
    shapes = {
        value.name: value.type.tensor_type.shape
        for group in (plain.graph.value_info, plain.graph.output)
        for value in group
    }
    for node in plain.graph.node:
        for name in node.output:
            if name:
                assert all(dim.HasField("dim_value") for dim in shapes[name].dim), f"{name} is not static"
    return plain


def exported_node(module: torch.nn.Module, *example: Tensor) -> onnx.NodeProto:
    """The one node that torch's exporter makes of a module that calls a custom op and nothing else."""
    program = torch.onnx.export(module.eval(), example, dynamo=True, opset_version=OPSET, verbose=False)
    assert program is not None
    (node,) = program.model_proto.graph.node
    return node
