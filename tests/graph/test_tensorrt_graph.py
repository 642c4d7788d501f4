"""The forms for TensorRT: each pass against ONNX Runtime on the graph as it was, with ties and more than one image."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper, parser
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.graph.first_largest import compare_for_first_largest
from edgeexport.graph.mask_product import join_mask_products
from edgeexport.graph.permutation_scatter import sort_for_scatters
from edgeexport.graph.token_axis import restore_token_axis
from edgeexport.graph.two_classes import subtract_second_class

_Pass = Callable[..., int]


def graph_of(text: str, **weights: NDArray) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True)


def rewritten(model: onnx.ModelProto, rewrite: _Pass, *kept: Collection[str]) -> tuple[onnx.ModelProto, int]:
    program = ir.from_proto(model)
    count = rewrite(program, *kept)
    RemoveUnusedNodesPass()(program)
    result = ir.to_proto(program)
    onnx.checker.check_model(result, full_check=True)
    assert [output.name for output in result.graph.output] == [output.name for output in model.graph.output]
    return result, count


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.op_type != "Constant"]


def values(model: onnx.ModelProto, given: NDArray) -> dict[str, NDArray]:
    return OnnxRuntimeRunner(model.SerializeToString()).run(given)


def first_largest_graph(batch: int, classes: int, tokens: int) -> onnx.ModelProto:
    return graph_of(f"""
        labels (float[{batch}, {classes}, {tokens}] scores)
            => (float[{batch}, {tokens}] best, int64[{batch}, {tokens}] label) {{
            axes = Constant <value_ints = [1]> ()
            best = ReduceMax <keepdims = 0> (scores, axes)
            label = ArgMax <axis = 1, keepdims = 0> (scores)
        }}""")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 7), st.integers(0, 2**31), st.sampled_from([1, 2, 5, 10**6])
)
def test_first_largest_is_argmax_with_ties(batch: int, classes: int, tokens: int, seed: int, levels: int) -> None:
    model = first_largest_graph(batch, classes, tokens)
    result, count = rewritten(model, compare_for_first_largest)
    assert count == 1 and "ArgMax" not in operators(result)
    scores = (np.random.default_rng(seed).integers(-levels, levels, (batch, classes, tokens)) / levels).astype(
        np.float32
    )
    for name, value in values(model, scores).items():
        assert np.array_equal(value, values(result, scores)[name]), name


def test_a_label_alone_stays_argmax() -> None:
    """Without the maximum beside it, one kernel becomes two."""
    alone = graph_of(
        "labels (float[1, 4, 5] scores) => (int64[1, 5] label) { label = ArgMax <axis = 1, keepdims = 0> (scores) }"
    )
    assert rewritten(alone, compare_for_first_largest)[1] == 0


def scatter_graph(rows: NDArray, columns: int) -> onnx.ModelProto:
    batch, count = rows.shape
    return graph_of(
        f"""
        places (int64[{batch}, {count}] order) => (int32[{batch}, {columns}] placed) {{
            placed = ScatterElements <axis = 1> (zeros, order, rows)
        }}""",
        zeros=np.zeros((batch, columns), np.int32),
        rows=rows,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(0, 2**31), st.booleans())
def test_a_scatter_that_fills_every_place_is_a_sort(batch: int, count: int, seed: int, counting: bool) -> None:
    rng = np.random.default_rng(seed)
    row = np.arange(count) if counting else rng.integers(-9, 9, count)
    model = scatter_graph(np.tile(row.astype(np.int32), (batch, 1)), count)
    result, done = rewritten(model, sort_for_scatters)
    assert done == 1 and "ScatterElements" not in operators(result)
    order = np.stack([rng.permutation(count) for _ in range(batch)])
    assert np.array_equal(values(model, order)["placed"], values(result, order)["placed"])


def test_other_scatters_stay() -> None:
    """One that leaves places as they were, and one whose rows differ by image."""
    assert rewritten(scatter_graph(np.arange(4, dtype=np.int32)[None], 6), sort_for_scatters)[1] == 0
    assert rewritten(scatter_graph(np.array([[0, 1], [1, 0]], np.int32), 2), sort_for_scatters)[1] == 0


def mask_graph(batch: int, heads: int, depth: int, classes: int, tokens: int, seed: int) -> onnx.ModelProto:
    width = heads * depth
    rng = np.random.default_rng(seed)
    return graph_of(
        f"""
        masks (float[{batch}, {tokens}, {width}] x) => (
            float[{batch}, {classes}, {tokens}] mask, float[{batch}, {heads}, {classes}, {tokens}] shares
        ) {{
            start = Constant <value_ints = [0]> ()
            end = Constant <value_ints = [{classes}]> ()
            axis = Constant <value_ints = [1]> ()
            some = Slice (x, start, end, axis)
            q = MatMul (some, wq)
            k = MatMul (x, wk)
            q_cut = Reshape (q, cut_q)
            k_cut = Reshape (k, cut_k)
            q_heads = Transpose <perm = [0, 2, 1, 3]> (q_cut)
            q_scaled = Mul (q_heads, scale)
            k_columns = Transpose <perm = [0, 2, 3, 1]> (k_cut)
            logits = MatMul (q_scaled, k_columns)
            mask = ReduceMean <keepdims = 0> (logits, over)
            shares = Softmax <axis = -1> (logits)
        }}""",
        wq=rng.normal(size=(width, width)).astype(np.float32),
        wk=rng.normal(size=(width, width)).astype(np.float32),
        scale=np.float32(depth**-0.5),
        over=np.array([1]),
        cut_q=np.array([batch, classes, heads, depth]),
        cut_k=np.array([batch, tokens, heads, depth]),
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 8), st.integers(1, 5), st.integers(0, 2**31))
def test_mask_logits_are_one_product_over_all_channels(
    batch: int, heads: int, depth: int, classes: int, seed: int
) -> None:
    """The same mean in another order of summation; the attention beside it is left alone."""
    model = mask_graph(batch, heads, depth, classes, 6, seed)
    result, count = rewritten(model, join_mask_products)
    assert count == 1 and "ReduceMean" not in operators(result)
    x = np.random.default_rng(seed + 1).normal(size=(batch, 6, heads * depth)).astype(np.float32)
    before, after = values(model, x), values(result, x)
    assert np.array_equal(before["shares"], after["shares"])
    np.testing.assert_allclose(after["mask"], before["mask"], atol=1e-5 * heads * depth * 4, rtol=1e-5)


def test_a_mean_over_something_else_stays() -> None:
    model = mask_graph(1, 2, 3, 2, 6, 0)
    next(item for item in model.graph.initializer if item.name == "over").CopyFrom(
        numpy_helper.from_array(np.array([2]), "over")
    )
    del model.graph.output[0]
    assert rewritten(model, join_mask_products)[1] == 0


def rows_graph(batch: int, tokens: int, width: int, seed: int) -> onnx.ModelProto:
    """A block as the timm host exports it: rows between reshapes."""
    rng = np.random.default_rng(seed)
    shapes = {
        "gain": width,
        "offset": width,
        "w1": (2 * width, width),
        "b1": 2 * width,
        "w2": (2 * width, width),
        "b2": width,
    }
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return graph_of(
        f"""
        block (float[{batch}, {tokens}, {width}] x) => (
            float[{batch}, {tokens}, {width}] y, float[{batch}, {tokens}, {width}] half
        ) {{
            rows = Reshape (x, to_rows)
            normed = LayerNormalization <axis = -1> (rows, gain, offset)
            wide = Gemm <transB = 1> (normed, w1, b1)
            active = Gelu (wide)
            left, right = Split <axis = 1, num_outputs = 2> (active)
            half = Reshape (left, to_tokens)
            narrow = MatMul (active, w2)
            biased = Add (narrow, b2)
            total = Add (rows, biased)
            y = Reshape (total, to_tokens)
        }}""",
        to_rows=np.array([batch * tokens, width]),
        to_tokens=np.array([batch, tokens, width]),
        **weights,
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_rows_become_tokens(batch: int, tokens: int, width: int, seed: int) -> None:
    model = rows_graph(batch, tokens, width, seed)
    result, count = rewritten(model, restore_token_axis)
    assert count > 0 and not {"Gemm"} & {*operators(result)}
    x = np.random.default_rng(seed + 1).normal(size=(batch, tokens, width)).astype(np.float32)
    before, after = values(model, x), values(result, x)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kept", ["wide", "total"])
def test_rows_that_somebody_asks_for_stay_rows(kept: str) -> None:
    model = rows_graph(2, 3, 4, 0)
    result, _ = rewritten(model, restore_token_axis, [kept])
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in result.graph.value_info
    }
    assert shapes[kept] == [6, 8 if kept == "wide" else 4]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(0, 2**31))
def test_two_classes_are_a_sigmoid(batch: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = graph_of(
        f"""
        present (float[{batch}, 5, {width}] x) => (float[{batch}, 5, 1] share) {{
            product = MatMul (x, weight)
            logits = Add (product, bias)
            both = Softmax <axis = -1> (logits)
            share = Slice (both, zero, one, last)
        }}""",
        weight=rng.normal(size=(width, 2)).astype(np.float32),
        bias=rng.normal(size=2).astype(np.float32),
        zero=np.array([0]),
        one=np.array([1]),
        last=np.array([2]),
    )
    result, count = rewritten(model, subtract_second_class)
    assert count == 1 and not {"Softmax", "Slice"} & {*operators(result)}
    x = rng.normal(size=(batch, 5, width)).astype(np.float32) * 3
    np.testing.assert_allclose(values(result, x)["share"], values(model, x)["share"], atol=1e-5)
