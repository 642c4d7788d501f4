"""The benchmark of float16: its rounding is float16's, and what it does not round stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper, parser

from benchmarks.half_precision import RECIPES, rounded_model
from edgeexport.graph.half_precision import half_precision_model
from edgeexport.recipe import shipped_recipes

TEXT = """<ir_version: 10, opset_import: ["": 20]>
g (float[64,4] x) => (float[64,4] y, float[64,4] z) {
    product = MatMul (x, identity)
    bent = Relu (product)
    y = MatMul (bent, identity)
    z = Add (x, x)
}"""


def test_rounded_graph_computes_in_float32_what_float16_would_hold() -> None:
    model = parser.parse_model(TEXT)
    model.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), "identity"))
    half, _ = half_precision_model(onnx.shape_inference.infer_shapes(model))
    rounded = rounded_model(half)
    onnx.checker.check_model(rounded)
    kinds = {value.type.tensor_type.elem_type for value in rounded.graph.value_info}
    assert kinds == {TensorProto.FLOAT} != {value.type.tensor_type.elem_type for value in half.graph.value_info}
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((64, 4)) * 10.0 ** rng.integers(-3, 4, (64, 4))).astype(np.float32)
    session = onnxruntime.InferenceSession(rounded.SerializeToString(), providers=["CPUExecutionProvider"])
    y, z = session.run(None, {"x": x})
    np.testing.assert_array_equal(y, np.maximum(x, 0).astype(np.float16).astype(np.float32))
    assert (y != np.maximum(x, 0)).mean() > 0.3
    np.testing.assert_array_equal(z, x + x)


def test_recipes_are_shipped_ones() -> None:
    assert set(RECIPES) <= {name.removesuffix(".py") for name, _ in shipped_recipes()}
