"""Graphs for the tests of the float16 pass, and what is true of every result."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, parser

HALF, FULL = TensorProto.FLOAT16, TensorProto.FLOAT
HEADER = '<ir_version: 10, opset_import: ["": 20, "edgeexport": 1]>'


def inferred(text: str, **weights: NDArray) -> onnx.ModelProto:
    """A graph from text with float32 weights and the type of every value."""
    model = parser.parse_model(HEADER + text)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return onnx.shape_inference.infer_shapes(model)


def types(model: onnx.ModelProto) -> dict[str, int]:
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def half_names(model: onnx.ModelProto) -> set[str]:
    """First outputs of the nodes, casts left out, that compute in float16."""
    known = types(model)
    names = {node.output[0] for node in model.graph.node if node.op_type != "Cast"}
    return {name.removesuffix("/float16") for name in names if known[name] == HALF}


def check_sound(model: onnx.ModelProto) -> None:
    """Types fit, no cast undoes or repeats another, and no constant is cast at run time."""
    onnx.checker.check_model(model)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    maker = {value: node for node in model.graph.node for value in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    casts = [node for node in model.graph.node if node.name.endswith("/cast")]
    assert len({(node.input[0], node.attribute[0].i) for node in casts}) == len(casts)
    for node in casts:
        assert node.input[0] not in constants
        source = maker.get(node.input[0])
        assert source is None or source not in casts


def run(model: onnx.ModelProto, feed: dict[str, NDArray]) -> list[NDArray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def weight(*shape: int, seed: int = 0, scale: float = 0.5) -> NDArray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)
