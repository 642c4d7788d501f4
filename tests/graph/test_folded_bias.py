"""Biases of queries, keys and values fold into weights: the same numbers, in graphs of every form that attention takes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.graph.folded_bias import fold_biases

_TOKENS, _WIDTH, _HEADS = 5, 12, 3


def attention_graph(
    weights: dict[str, NDArray], *, gemm: bool = False, read_again: bool = False, key: str = "k_heads"
) -> onnx.ModelProto:
    """Self-attention behind a norm on rows (5, 12), with 3 heads; ``read_again`` adds the norm's result at the end."""
    product = "Gemm <transB = 1> (normed, weight, bias)" if gemm else "MatMul (normed, weight)"
    bias = "" if gemm else "joint = Add (product, bias)"
    name = "joint" if gemm else "product"
    model = parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        attention (float[{_TOKENS}, {_WIDTH}] x) => (float[{_TOKENS}, {_WIDTH}] y) {{
            normed = LayerNormalization <axis = -1, epsilon = 0.001> (x, gain, offset)
            {name} = {product}
            {bias}
            q, k, v = Split <axis = 1, num_outputs = 3> (joint)
            heads = Constant <value_ints = [{_TOKENS}, {_HEADS}, -1]> ()
            rows = Constant <value_ints = [{_TOKENS}, -1]> ()
            q_cut = Reshape (q, heads)
            k_cut = Reshape (k, heads)
            v_cut = Reshape (v, heads)
            q_heads = Transpose <perm = [1, 0, 2]> (q_cut)
            k_heads = Transpose <perm = [1, 2, 0]> (k_cut)
            v_heads = Transpose <perm = [1, 0, 2]> (v_cut)
            logits = MatMul (q_heads, {key})
            shares = Softmax (logits)
            mixed = MatMul (shares, v_heads)
            joined = Transpose <perm = [1, 0, 2]> (mixed)
            out = Reshape (joined, rows)
            y = Add (out, {"normed" if read_again else "x"})
        }}""")
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return onnx.shape_inference.infer_shapes(model)


def drawn(seed: int, spread: float, *, gemm: bool = False) -> dict[str, NDArray]:
    rng = np.random.default_rng(seed)
    shapes = {"gain": _WIDTH, "offset": _WIDTH, "weight": (_WIDTH, 3 * _WIDTH), "bias": 3 * _WIDTH}
    found = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    found["gain"] = np.exp(spread * found["gain"])
    found["weight"] = found["weight"].T.copy() if gemm else found["weight"]
    return found


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.op_type != "Constant"]


def folded(model: onnx.ModelProto, kept: tuple[str, ...] = ()) -> tuple[onnx.ModelProto, int]:
    program = ir.from_proto(model)
    count = fold_biases(program, kept)
    result = ir.to_proto(program)
    onnx.checker.check_model(result, full_check=True)
    return result, count


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 2.0]), st.booleans(), st.booleans())
def test_the_numbers_are_the_same(seed: int, spread: float, gemm: bool, read_again: bool) -> None:
    """Also where the norm's gains spread over two orders of magnitude, and where the norm's result is read by a residual."""
    weights = drawn(seed, spread, gemm=gemm)
    model = attention_graph(weights, gemm=gemm, read_again=read_again)
    result, count = folded(model)
    assert count == 1 and "Gemm" not in operators(result)
    assert operators(result).count("Add") == 1 + read_again
    x = np.random.default_rng(seed + 1).normal(size=(_TOKENS, _WIDTH)).astype(np.float32) * 3 + 1
    before, after = (OnnxRuntimeRunner(item.SerializeToString()).run(x)["y"] for item in (model, result))
    scale = max(1.0, float(np.abs(weights["weight"]).max() * weights["gain"].max()))
    np.testing.assert_allclose(after, before, atol=2e-4 * scale, rtol=1e-4)


def test_the_formula_is_exact() -> None:
    """In float64, with the folded weight as it is stored: nothing is left but the rounding of the weight to float32."""
    weights = drawn(3, 0.7)
    result, _ = folded(attention_graph(weights))
    stored = next(
        numpy_helper.to_array(item) for item in result.graph.initializer if item.name.endswith("/folded_weight")
    )
    x = np.random.default_rng(0).normal(size=(_TOKENS, _WIDTH))
    hat = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    expected = (hat * weights["gain"] + weights["offset"]) @ weights["weight"].astype(np.float64) + weights["bias"]
    np.testing.assert_allclose((hat + 0.25) @ stored.astype(np.float64), expected, atol=1e-5)


def test_a_metric_of_keys_has_its_bias_still() -> None:
    model = attention_graph(drawn(1, 0.3))
    model.graph.output.append(onnx.helper.make_tensor_value_info("k_cut", onnx.TensorProto.FLOAT, [_TOKENS, _HEADS, 4]))
    result, count = folded(model)
    assert count == 1
    x = np.random.default_rng(2).normal(size=(_TOKENS, _WIDTH)).astype(np.float32)
    before, after = (OnnxRuntimeRunner(item.SerializeToString()).run(x)["k_cut"] for item in (model, result))
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.parametrize("kept", ["joint", "product"])
def test_a_value_that_somebody_asks_for_stays(kept: str) -> None:
    result, count = folded(attention_graph(drawn(0, 0.0)), kept=(kept,))
    assert count == 0 and operators(result).count("Add") == 2


def test_a_bias_that_no_attention_meets_stays() -> None:
    """It costs nothing there."""
    model = attention_graph(drawn(0, 0.0))
    for node in model.graph.node:
        if node.op_type == "Split":
            node.input[0] = "activated"
    at = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Split")
    relu = onnx.helper.make_node("Relu", ["joint"], ["activated"])
    nodes = [*model.graph.node[:at], relu, *model.graph.node[at:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert folded(model)[1] == 0
