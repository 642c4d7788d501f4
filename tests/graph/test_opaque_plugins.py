"""The graph around plugins computes what the whole does, given what the plugins compute."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from edgeexport.errors import BuildError
from edgeexport.graph.opaque_plugins import opaque_plugins

TEXT = """<ir_version: 10, opset_import: ["": 20, "edgeexport": 1]>
g (float[2,6] x) => (float[2,4] y, int32[2,4] kept)
    <float[2,6] a, float[2,6] score, int32[2,2] taken, int64[2,4] wide> {
    a = Relu (x)
    score = Neg (a)
    kept, taken = edgeexport.TokenPartition <k = 2> (score)
    wide = Cast <to = 7> (kept)
    rows = GatherElements <axis = 1> (a, wide)
    y = Add (rows, rows)
}"""


def test_what_a_plugin_reads_is_asked_and_what_it_writes_is_given() -> None:
    model = parser.parse_model(TEXT)
    before = model.SerializeToString()
    found, (call,) = opaque_plugins(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(found, full_check=True)
    assert [value.name for value in found.graph.input] == ["x", "kept"], "nobody reads what was taken"
    assert [value.name for value in found.graph.output] == ["y", "score"]
    assert (call.op_type, [t.name for t in call.inputs], [t.name for t in call.outputs]) == (
        "TokenPartition", ["score"], ["kept"],
    )  # fmt: skip
    assert (call.outputs[0].dtype, call.outputs[0].shape, call.outputs[0].strides) == ("int32", (2, 4), (4, 1))
    x = np.array([[3, 1, 2, 0, 5, 4], [1, 1, 1, 2, 2, 2]], np.float32)
    kept = np.array([[0, 2, 4, 5], [2, 3, 4, 5]], np.int32)
    y, score = onnxruntime.InferenceSession(found.SerializeToString()).run(None, {"x": x, "kept": kept})
    np.testing.assert_array_equal(y, 2 * np.take_along_axis(x, kept.astype(np.int64), 1))
    np.testing.assert_array_equal(score, -x)


def test_plugins_that_read_each_other_and_what_only_they_need() -> None:
    text = TEXT.replace("wide = Cast", "again, more = edgeexport.TokenPartition <k = 1> (first)\n wide = Cast")
    text = text.replace("kept, taken =", "first = edgeexport.TokenUnmerge (score, kept)\n kept, taken =")
    text = text.replace("int64[2,4] wide", "int64[2,4] wide, float[2,4] first, int32[2,3] again, int32[2,1] more")
    found, calls = opaque_plugins(parser.parse_model(text))
    assert [call.op_type for call in calls] == ["TokenUnmerge", "TokenPartition", "TokenPartition"]
    assert {value.name for value in found.graph.input} == {"x", "kept", "first"}
    assert calls[2].outputs == (), "read by nobody"


def test_a_graph_without_plugins_is_itself() -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]> g (float[2] x) => (float[2] y) { y = Relu (x) }"""
    )
    found, calls = opaque_plugins(model)
    assert calls == () and [node.op_type for node in found.graph.node] == ["Relu"]


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(BuildError, match=r"value 'score' \| its shape or type is unknown"):
        opaque_plugins(parser.parse_model(TEXT.replace("float[2,6] score, ", "")))
