from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

from edgeexport.graph.skeleton import SMALL_TENSOR_ELEMENTS, model_from_skeleton, skeleton_from_model


def _model() -> onnx.ModelProto:
    model = parser.parse_model("""
        <ir_version: 9, opset_import: ["": 20], producer_name: "someone", doc_string: "text">
        g (float[1,100] x, bool c) => (float[1,100] y)
        { m = MatMul(x, big) y = If (c) <then_branch = a () => (float[1,100] s) { s = Add(m, inner) },
          else_branch = b () => (float[1,100] r) { r = Add(m, small) }> }""")
    values = {"small": (100,), "big": (100, 100), "inner": (100, SMALL_TENSOR_ELEMENTS // 100 + 1), "idle": (100, 100)}
    for name, shape in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    model.metadata_props.add(key="recipe", value="r")
    return model


def test_weights_become_inputs_and_the_model_is_unchanged() -> None:
    model = _model()
    before = model.SerializeToString()
    skeleton = skeleton_from_model(model)
    assert model.SerializeToString() == before
    assert skeleton.model.ByteSize() < 2000 < model.ByteSize()
    assert [tensor.name for tensor in skeleton.model.graph.initializer] == ["small"]
    assert [value.name for value in skeleton.model.graph.input] == ["x", "c", "big", "inner", "idle"]
    assert skeleton.placeholders == {"big", "inner", "idle"}
    big = skeleton.model.graph.input[2].type.tensor_type
    assert (big.elem_type, [dim.dim_value for dim in big.shape.dim]) == (onnx.TensorProto.FLOAT, [100, 100])


def test_there_and_back_drops_only_what_nothing_reads() -> None:
    """`inner` is read inside a nested graph alone."""
    model = _model()
    result = model_from_skeleton(skeleton_from_model(model))
    assert [tensor.name for tensor in result.graph.initializer] == ["small", "big", "inner"]
    del model.graph.initializer[3]
    assert result == model


def test_weights_that_are_declared_as_inputs_too() -> None:
    """ONNX before IR version 4 lists every initializer among the inputs."""
    model = _model()
    del model.graph.initializer[3]
    model.graph.input.append(onnx.helper.make_tensor_value_info("big", onnx.TensorProto.FLOAT, [100, 100]))
    skeleton = skeleton_from_model(model)
    assert [value.name for value in skeleton.model.graph.input] == ["x", "c", "big", "inner"]
    assert skeleton.placeholders == {"inner"}
    assert model_from_skeleton(skeleton) == model
