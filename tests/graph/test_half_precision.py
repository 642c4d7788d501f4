"""The float16 pass: which nodes it converts, casts and weights, and the decisions of an exported model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from half_precision_cases import FULL, HALF, HEADER, check_sound, half_names, inferred, run, types, weight
from onnx import numpy_helper, parser
from shared_cases import TINY_RECIPE

from edgeexport.errors import BuildError, ParityError
from edgeexport.graph.half_precision import convert_to_half, half_precision_model
from edgeexport.graph.half_precision_policy import DECIDING, MOVING, NORMS

ATTENTION = """
g (float[1,6,8] x, float[1,1,1,6] sizes) => (float[1,6,8] y, int64[1,2] best)
  <int64[4] heads = {1, 6, 2, 4}, int64[3] flat = {1, 6, 8}, int64[1] two = {2}, int64[1] second = {1}, float scale = {0.5}> {
    normed = LayerNormalization (x, gain, gain)
    joint_0 = MatMul (normed, w_joint)
    joint = Add (joint_0, b_joint)
    q, k, v = Split <axis = 2, num_outputs = 3> (joint)
    q_heads = Reshape (q, heads)
    k_heads = Reshape (k, heads)
    v_heads = Reshape (v, heads)
    q_last = Transpose <perm = [0, 2, 1, 3]> (q_heads)
    k_last = Transpose <perm = [0, 2, 3, 1]> (k_heads)
    k_rows = Transpose <perm = [0, 2, 1, 3]> (k_heads)
    v_last = Transpose <perm = [0, 2, 1, 3]> (v_heads)
    scaled = Mul (q_last, scale)
    logits = MatMul (scaled, k_last)
    bias = Log (sizes)
    biased = Add (logits, bias)
    shares = Softmax <axis = 3> (biased)
    mixed = MatMul (shares, v_last)
    mixed_rows = Transpose <perm = [0, 2, 1, 3]> (mixed)
    together = Reshape (mixed_rows, flat)
    projected = MatMul (together, w_out)
    x_1 = Add (x, projected)
    normed_1 = LayerNormalization (x_1, gain, gain)
    wide_0 = MatMul (normed_1, w_in)
    wide = Add (wide_0, b_in)
    bent = Gelu (wide)
    narrow = MatMul (bent, w_back)
    y = Add (x_1, narrow)
    metric = ReduceMean <keepdims = 0> (k_rows, second)
    squared = Mul (metric, metric)
    score = ReduceSum <keepdims = 0> (squared, two)
    score_2 = Mul (score, scale)
    _value, best = TopK (score_2, two)
}"""


@pytest.fixture(scope="module")
def block() -> onnx.ModelProto:
    return inferred(
        ATTENTION,
        gain=np.ones(8, np.float32),
        w_joint=weight(8, 24),
        b_joint=weight(24),
        w_out=weight(8, 8, seed=1),
        w_in=weight(8, 16, seed=2),
        b_in=weight(16, seed=3),
        w_back=weight(16, 8, seed=4),
    )


def test_a_block_is_converted_as_autocast_would(block: onnx.ModelProto) -> None:
    before = block.SerializeToString()
    found, report = half_precision_model(block)
    assert block.SerializeToString() == before
    check_sound(found)
    full = {node.output[0] for node in found.graph.node if node.op_type != "Cast"} - half_names(found)
    assert full == {"normed", "bias", "x_1", "normed_1", "y", "metric", "squared", "score", "score_2", "_value"}
    known = types(found)
    assert {name for name in known if name.startswith(("w_", "b_")) and known[name] != HALF} == set()
    assert known["gain"] == known["scale"] == FULL
    assert known["scale/float16"] == HALF  # read in both precisions
    assert report.half_nodes == len(half_names(found))
    assert report.casts == sum(node.op_type == "Cast" for node in found.graph.node) == 6
    assert report.weights.elements == 8 * 24 + 24 + 64 + 128 + 16 + 128 + 1
    assert [value.type.tensor_type.elem_type for value in found.graph.input] == [FULL, FULL]


def test_a_block_computes_what_autocast_computes(block: onnx.ModelProto) -> None:
    """Against torch.autocast with float16 on the CPU, and both within float16's reach of float32."""
    rng = np.random.default_rng(5)
    feed = {
        "x": rng.standard_normal((1, 6, 8)).astype(np.float32),
        "sizes": rng.integers(1, 9, (1, 1, 1, 6)).astype(np.float32),
    }
    half, _ = half_precision_model(block)
    exact, (found, best) = run(block, feed)[0], run(half, feed)
    w = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in block.graph.initializer}
    x, sizes = (torch.from_numpy(feed[name]) for name in ("x", "sizes"))
    with torch.autocast("cpu", dtype=torch.float16):
        normed = torch.nn.functional.layer_norm(x, (8,), w["gain"], w["gain"])
        joint = torch.nn.functional.linear(normed, w["w_joint"].T, w["b_joint"])
        q, k, v = (part.reshape(1, 6, 2, 4).transpose(1, 2) for part in joint.chunk(3, dim=-1))
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=sizes.log().half())
        x = x + torch.nn.functional.linear(mixed.transpose(1, 2).reshape(1, 6, 8), w["w_out"].T)
        normed = torch.nn.functional.layer_norm(x, (8,), w["gain"], w["gain"])
        wide = torch.nn.functional.linear(normed, w["w_in"].T, w["b_in"])
        expected = x + torch.nn.functional.linear(torch.nn.functional.gelu(wide), w["w_back"].T)
    size = np.abs(exact).max()
    assert 0 < np.abs(found - exact).max() < 4e-3 * size
    assert np.abs(found - expected.float().numpy()).max() < 4e-3 * size
    assert best.dtype == np.int64 and best.shape == (1, 2)


def test_scores_that_decide_are_computed_in_float32_up_to_the_product() -> None:
    """A mask product that a decision reads is no attention, though a softmax reads it too."""
    model = inferred(
        """g (float[1,3,4] queries, float[1,5,4] tokens) => (float[1,3,4] next, float[1,3,5] confidence) {
            q = MatMul (queries, w)
            k = MatMul (tokens, w)
            k_last = Transpose <perm = [0, 2, 1]> (k)
            masks = MatMul (q, k_last)
            shares = Softmax <axis = 2> (masks)
            mixed = MatMul (shares, tokens)
            next = MatMul (mixed, w)
            confidence = Sigmoid (masks)
        }""",
        w=weight(4, 4),
    )
    found, _ = half_precision_model(model)
    check_sound(found)
    assert half_names(found) == {"q", "k", "k_last", "shares", "mixed", "next"}
    assert types(found)["next"] == FULL and types(found)["next/float16"] == HALF


def test_kept_inner_values_keep_name_and_type() -> None:
    text = """g (float[2,4] x) => (float[2,4] y) {
        inner = MatMul (x, w)
        bent = Relu (inner)
        y = MatMul (bent, w)
    }"""
    model = inferred(text, w=weight(4, 4))
    plain, _ = half_precision_model(model)
    assert types(plain)["inner"] == HALF
    found, _ = half_precision_model(model, ["inner"])
    check_sound(found)
    assert types(found)["inner"] == FULL
    assert half_names(found) == {"inner", "bent", "y"}
    reader = next(node for node in found.graph.node if node.op_type == "Relu")
    assert list(reader.input) == ["inner/float16"]  # without the detour


def test_positions_are_added_in_float32_and_biases_in_float16() -> None:
    text = """g (float[1,3,4] x) => (float[1,3,4] y) {
        product = MatMul (x, w)
        biased = Add (product, bias)
        placed = Add (biased, position)
        normed = LayerNormalization (placed, bias, bias)
        scaled = MatMul (normed, w)
        layer_scale = Mul (scaled, bias)
        y = Add (placed, layer_scale)
    }"""
    found, _ = half_precision_model(inferred(text, w=weight(4, 4), bias=weight(4), position=weight(1, 3, 4)))
    check_sound(found)
    assert half_names(found) == {"product", "biased", "scaled"}
    assert {"bias", "bias/float16", "position"} <= types(found).keys()


def test_views_before_a_product_move_half_the_bytes() -> None:
    text = """g (float[2,4,4] x) => (float[2,4,4] y) <int64[2] rows = {8, 4}, int64[3] back = {2, 4, 4}> {
        turned = Transpose <perm = [0, 2, 1]> (x)
        flat = Reshape (turned, rows)
        product = MatMul (flat, w)
        y = Reshape (product, back)
    }"""
    found, report = half_precision_model(inferred(text, w=weight(4, 4)))
    check_sound(found)
    assert half_names(found) == {"turned", "flat", "product", "y"}
    assert report.casts == 2
    assert found.graph.node[0].op_type == "Cast" and found.graph.node[-1].op_type == "Cast"


def test_small_and_large_weights_alike() -> None:
    """Large ones are no part of the skeleton that the pass works on."""
    text = """g (float[1,100] x) => (float[1,100] y, float[100,100] table) {
        a = MatMul (x, large)
        b = MatMul (a, shared)
        y = Add (b, offset)
        table = Mul (shared, shared)
    }"""
    values = {"large": weight(100, 100), "shared": weight(100, 100, seed=1), "offset": weight(100)}
    found, _ = half_precision_model(inferred(text, **values))
    check_sound(found)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    assert {name: value.dtype.name for name, value in held.items()} == {
        "large": "float16",
        "offset": "float16",
        "shared": "float32",
        "shared/float16": "float16",
    }
    np.testing.assert_array_equal(held["large"], values["large"].astype(np.float16))
    assert found.SerializeToString(deterministic=True) == half_precision_model(inferred(text, **values))[
        0
    ].SerializeToString(deterministic=True)


def test_weight_beyond_float16_is_an_error_that_names_it() -> None:
    large = weight(4, 4)
    large[1, 2] = -70000.0
    model = inferred("g (float[2,4] x) => (float[2,4] y) { y = MatMul (x, projection) }", projection=large)
    with pytest.raises(ParityError, match=r"node 'y' \| a weight is -70000, expected at most 65,504") as caught:
        half_precision_model(model)
    assert caught.value.exit_code == 4
    full = inferred("g (float[4,4] x) => (float[4,4] y) { y = Add (x, projection) }", projection=large)
    half_precision_model(full)  # read in float32 alone


def test_graph_without_products_is_unmodified() -> None:
    program = ir.from_proto(inferred("g (float[2,4] x) => (float[2,4] y) { a = Relu (x) y = Add (a, w) }", w=weight(4)))
    before = ir.to_proto(program)
    assert convert_to_half(program).half_nodes == 0
    assert ir.to_proto(program) == before


def test_unknown_type_is_an_error() -> None:
    model = parser.parse_model(HEADER + "g (float[2,4] x) => (float[2,4] y) { a = Relu (x) y = Relu (a) }")
    with pytest.raises(BuildError, match="the type of 'a' is unknown"):
        half_precision_model(model)


# --- An exported model ---


def lowered_decisions(model: onnx.ModelProto, kept: list[str]) -> list[str]:
    """Values that a decision or output of the converted ``model`` is computed from in float16, other than by a product."""
    known = types(model)
    maker = {value: node for node in model.graph.node for value in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    biases = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Add"
        and constants.intersection(node.input)
        and maker.get(node.input[0], node).op_type == "MatMul"
    }
    waiting = [*kept, *(value.name for value in model.graph.output)]
    for node in model.graph.node:
        if node.domain or node.op_type in DECIDING:
            waiting += node.input
    seen, found = set(), []

    def stored(view: onnx.NodeProto) -> bool:
        source = maker.get(view.input[0])
        return view.input[0] in constants or (source is not None and source.op_type in MOVING and stored(source))

    while waiting:
        value = waiting.pop()
        node = maker.get(value)
        if node is None or value in seen or node.op_type in NORMS or value in biases:
            continue
        seen.add(value)
        if node.op_type in ("MatMul", "Gemm", "Conv"):
            source = maker.get(node.input[1])
            if source is None or (source.op_type in ("Reshape", "Transpose") and stored(source)):
                continue
        if known.get(value) == HALF and node.op_type not in MOVING and node.op_type != "Cast":
            found.append(value)
        waiting += [name for name in node.input if known.get(name) in (HALF, FULL)]
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The tiny recipe's graph, every inner decision an output."""
    from edgeexport.fixed.model import fixed_from_model
    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.graph.export_cache import kept_export
    from edgeexport.recipe import load_recipe

    path: Path = tmp_path_factory.mktemp("half") / "tiny.py"
    path.write_text(TINY_RECIPE)
    recipe = load_recipe(path)
    model, _ = model_from_recipe(recipe)
    return kept_export(fixed_from_model(model, recipe), {}).model


def test_decisions_of_a_model_are_float32(exported: onnx.ModelProto) -> None:
    found, report = half_precision_model(exported)
    assert lowered_decisions(found, []) == []
    assert report.half_nodes > report.nodes / 2
    known = types(found)
    by_type: dict[str, set[int]] = {}
    for node in found.graph.node:
        for value in node.output:
            if known[value] in (HALF, FULL) and node.op_type != "Cast":
                by_type.setdefault(node.op_type, set()).add(known[value])
    assert by_type["LayerNormalization"] == by_type["Sigmoid"] == by_type["ReduceMax"] == by_type["Sub"] == {FULL}
    assert by_type["Gelu"] == by_type["Relu"] == {HALF}
    assert by_type["MatMul"] == {HALF, FULL}  # the mask products decide
    assert all(
        known[value] == FULL for node in found.graph.node if node.domain for value in node.input if known[value] == HALF
    )
    assert exported.ByteSize() > 1.5 * found.ByteSize()


def test_a_decision_in_float16_would_be_noticed(exported: onnx.ModelProto) -> None:
    """The check above can fail: each float32 node that decides, put into float16, is found."""
    found, _ = half_precision_model(exported)
    chosen = [node.output[0] for node in found.graph.node if node.op_type in ("Sigmoid", "ReduceMax", "ReduceMean")]
    assert len(chosen) >= 7
    for name in chosen:
        broken = onnx.ModelProto()
        broken.CopyFrom(found)
        for value in broken.graph.value_info:
            if value.name == name:
                value.type.tensor_type.elem_type = HALF
        assert name in lowered_decisions(broken, [])


def test_casts_belong_to_the_part_that_reads_them(exported: onnx.ModelProto) -> None:
    found, _ = half_precision_model(exported)
    casts = [node for node in found.graph.node if node.name.endswith("/cast")]
    assert sum(bool(node.metadata_props) for node in casts) > 0.9 * len(casts)
    check_names = [node.name for node in found.graph.node if node.name]
    assert len(check_names) == len(set(check_names))
