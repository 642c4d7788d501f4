"""Choosing outputs: their order, and nothing left that they do not need."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from edgeexport.graph.outputs import select_outputs


def model() -> onnx.ModelProto:
    """Three outputs; ``a`` and ``b`` share a node, ``c`` has one and a weight of its own."""
    result = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
    g (float[2,3] x) => (float[2,3] a, float[2,3] b, float[2,4] c)
    <float[3,4] heavy, float[2,3] light> {
        shared = Mul (x, light)
        a = Neg (shared)
        b = Abs (shared)
        inner = MatMul (x, heavy)
        c = Relu (inner)
    }""")
    del result.graph.initializer[:], result.graph.value_info[:]
    result.graph.initializer.append(numpy_helper.from_array(np.full((3, 4), 0.5, np.float32), "heavy"))
    result.graph.initializer.append(numpy_helper.from_array(np.full((2, 3), 2.0, np.float32), "light"))
    for name, shape in (("shared", [2, 3]), ("inner", [2, 4])):
        result.graph.value_info.append(helper.make_tensor_value_info(name, 1, shape))
    return result


def run(graph: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x}), strict=True))


@pytest.mark.parametrize(
    ("names", "nodes", "weights", "shapes"),
    [
        (["a"], ["Mul", "Neg"], ["light"], ["shared"]),
        (["c"], ["MatMul", "Relu"], ["heavy"], ["inner"]),
        (["c", "b"], ["Mul", "Abs", "MatMul", "Relu"], ["heavy", "light"], ["shared", "inner"]),
        (["a", "b", "c"], ["Mul", "Neg", "Abs", "MatMul", "Relu"], ["heavy", "light"], ["shared", "inner"]),
    ],
)
def test_keeps_what_is_needed_in_the_order_asked_for(
    names: list[str], nodes: list[str], weights: list[str], shapes: list[str]
) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    before, chosen = run(model(), x), model()
    select_outputs(chosen, names)
    assert [value.name for value in chosen.graph.output] == names
    assert [node.op_type for node in chosen.graph.node] == nodes
    assert [tensor.name for tensor in chosen.graph.initializer] == weights
    assert [value.name for value in chosen.graph.value_info] == shapes
    assert [value.name for value in chosen.graph.input] == ["x"]
    onnx.checker.check_model(chosen, full_check=True)
    after = run(chosen, x)
    assert list(after) == names
    for name in names:
        np.testing.assert_array_equal(after[name], before[name])


def test_output_that_another_output_needs() -> None:
    chosen = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
    g (float[2] x) => (float[2] first, float[2] second) { first = Neg (x) second = Abs (first) }""")
    (first, _) = chosen.graph.output
    select_outputs(chosen, ["second"])
    assert [node.op_type for node in chosen.graph.node] == ["Neg", "Abs"]
    assert list(chosen.graph.value_info) == [first]  # of a custom op's output, nothing else tells the shape


def test_node_with_one_of_two_outputs_needed_stays_whole() -> None:
    chosen = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
    g (float[4] x) => (float[2] v, int64[2] i) <int64[1] k = {2}> { v, i = TopK (x, k) }""")
    select_outputs(chosen, ["i"])
    (node,) = chosen.graph.node
    assert list(node.output) == ["v", "i"]
    assert [tensor.name for tensor in chosen.graph.initializer] == ["k"]


def test_inputs_and_outputs_left_out_are_no_names() -> None:
    """A node whose optional input is blank does not need the nodes whose optional output is."""
    chosen = parser.parse_model("""<ir_version: 9, opset_import: ["": 20]>
    g (float[4] x) => (float[4] y, int64[2] i) <int64[1] k = {2}, float top = {1}> {
        , i = TopK (x, k)
        y = Clip (x, , top)
    }""")
    assert "" in chosen.graph.node[0].output and "" in chosen.graph.node[1].input
    select_outputs(chosen, ["y"])
    assert [node.op_type for node in chosen.graph.node] == ["Clip"]
    assert [tensor.name for tensor in chosen.graph.initializer] == ["top"]


def test_name_that_is_no_output() -> None:
    chosen = model()
    with pytest.raises(KeyError, match="shared"):
        select_outputs(chosen, ["a", "shared"])
    assert chosen == model()
