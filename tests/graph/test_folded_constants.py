"""What depends on weights alone is computed once: bit for bit what ONNX Runtime would have computed."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper, parser

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.graph.folded_constants import fold_constants


def query_graph() -> onnx.ModelProto:
    """A decoder's first step: constant queries attend to themselves before they meet the tokens."""
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        queries (float[2, 6, 8] tokens) => (float[2, 4, 6] logits, float[4, 8] own) {
            mixed = MatMul (query, weight)
            square = Transpose <perm = [1, 0]> (mixed)
            scores = MatMul (mixed, square)
            shares = Softmax (scores)
            own = MatMul (shares, mixed)
            normed = LayerNormalization <axis = -1> (mixed, gain, gain)
            shape = Constant <value_ints = [9, 4, 8]> ()
            wide = Expand (normed, shape)
            start = Constant <value_ints = [0]> ()
            end = Constant <value_ints = [2]> ()
            copies = Slice (wide, start, end, start)
            columns = Transpose <perm = [0, 2, 1]> (tokens)
            logits = MatMul (copies, columns)
        }""")
    rng = np.random.default_rng(0)
    shapes = {"query": (4, 8), "weight": (8, 8), "gain": (8,)}
    model.graph.initializer.extend(
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items()
    )
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def folded(kept: tuple[str, ...] = ()) -> tuple[onnx.ModelProto, int]:
    program = ir.from_proto(query_graph())
    count = fold_constants(program, kept)
    result = ir.to_proto(program)
    onnx.checker.check_model(result, full_check=True)
    return result, count


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.op_type != "Constant"]


def test_folded_values_are_the_same_bits() -> None:
    result, count = folded()
    tokens = np.random.default_rng(1).normal(size=(2, 6, 8)).astype(np.float32)
    before, after = (OnnxRuntimeRunner(item.SerializeToString()).run(tokens) for item in (query_graph(), result))
    assert count > 0
    for name, value in before.items():
        assert np.array_equal(value, after[name]), name


def test_outputs_and_large_copies_stay_nodes() -> None:
    """An output is a node's result; copying queries for a batch of 9 would store them 9 times."""
    result, _ = folded()
    assert operators(result) == ["MatMul", "Expand", "Slice", "Transpose", "MatMul"]
    assert {item.name for item in result.graph.initializer} >= {"mixed", "normed", "shares"}
    assert "weight" not in {item.name for item in result.graph.initializer}


def test_values_that_somebody_asks_for_stay_nodes() -> None:
    result, _ = folded(kept=("mixed",))
    assert [node.output[0] for node in result.graph.node if node.op_type == "MatMul"] == [
        "mixed",
        "scores",
        "own",
        "logits",
    ]


def test_nothing_to_fold_changes_nothing() -> None:
    program = ir.from_proto(folded()[0])
    before = ir.to_proto(program).SerializeToString(deterministic=True)
    assert fold_constants(program) == 0
    assert ir.to_proto(program).SerializeToString(deterministic=True) == before
