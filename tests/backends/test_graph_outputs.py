"""Outputs appended as bytes: what onnx's own encoder would have written, and what ONNX Runtime makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, parser

from edgeexport.backends import graph_outputs
from edgeexport.backends.graph_outputs import appended_outputs
from edgeexport.bundle.tensor_info import TensorInfo

ELEMENT_TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}
MODEL = """<ir_version: 9, opset_import: ["": 20]>
g (float[2,300] x) => (float[2,300] y) {
    doubled = Add (x, x)
    index = ArgMax <axis = 1, keepdims = 0> (doubled)
    small = Cast <to = 6> (index)
    y = Neg (doubled)
}"""


def encoded_by_onnx(outputs: list[TensorInfo]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(o.name, ELEMENT_TYPES[o.dtype], list(o.shape)) for o in outputs]


infos = st.builds(
    TensorInfo,
    st.text(min_size=1, max_size=300),
    st.sampled_from(sorted(ELEMENT_TYPES)),
    st.lists(st.sampled_from([0, 1, 127, 128, 129, 150, 16383, 16384, 2**31, 2**63 - 1]), max_size=5).map(tuple),
)


@settings(deadline=None)
@given(st.lists(infos, max_size=4))
def test_bytes_parse_to_what_onnx_encodes(outputs: list[TensorInfo]) -> None:
    """Sizes, shapes and names on both sides of 127, above which a varint takes further bytes."""
    model = onnx.ModelProto()
    model.ParseFromString(appended_outputs(outputs))
    assert list(model.graph.output) == encoded_by_onnx(outputs)


def test_model_keeps_everything_else() -> None:
    model = parser.parse_model(MODEL)
    outputs = [TensorInfo("doubled", "float32", (2, 300)), TensorInfo("small", "int32", (2,))]
    longer = onnx.load_from_string(model.SerializeToString() + appended_outputs(outputs))
    model.graph.output.extend(encoded_by_onnx(outputs))
    assert longer == model


def test_no_output_changes_nothing() -> None:
    model = parser.parse_model(MODEL)
    assert onnx.load_from_string(model.SerializeToString() + appended_outputs([])) == model


@pytest.mark.parametrize("name", ["x" * 127, "x" * 128, "x" * 20000])
def test_long_messages(name: str) -> None:
    outputs = [TensorInfo(name, "float32", (1, 150, 128, 128))]
    model = onnx.ModelProto()
    model.ParseFromString(appended_outputs(outputs))
    assert list(model.graph.output) == encoded_by_onnx(outputs)


def test_onnxruntime_returns_inner_values() -> None:
    outputs = [TensorInfo("small", "int32", (2,)), TensorInfo("doubled", "float32", (2, 300))]
    content = parser.parse_model(MODEL).SerializeToString() + appended_outputs(outputs)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["y", "small", "doubled"]
    x = np.random.default_rng(0).random((2, 300), dtype=np.float32)
    y, small, doubled = session.run(None, {"x": x})
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(y, -2 * x)
    np.testing.assert_array_equal(small, x.argmax(axis=1))
    assert small.dtype == np.int32


def test_unknown_dtype() -> None:
    with pytest.raises(KeyError, match="float64"):
        appended_outputs([TensorInfo("x", "float64", (1,))])


def test_needs_no_onnx_package() -> None:
    """The device has none."""
    code = "import sys; sys.modules['onnx'] = sys.modules['torch'] = None; import edgeexport.backends.graph_outputs"
    root = Path(graph_outputs.__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=root)
