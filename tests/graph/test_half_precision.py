"""The float16 pass: which nodes it converts (against a brute-force reading of its policy), and casts and weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, parser
from shared_cases import TINY_RECIPE

from edgeexport.errors import BuildError
from edgeexport.graph.half_precision import half_precision_model
from edgeexport.graph.half_precision_policy import DECIDING, MOVING, NORMS
from edgeexport.graph.half_precision_weights import WeightLoss, half_tensor
from edgeexport.ops import DOMAIN

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
    with pytest.raises(BuildError, match=r"weight 'projection' \| holds -70000, expected at most 65504") as caught:
        half_precision_model(model)
    assert caught.value.exit_code == 5
    full = inferred("g (float[4,4] x) => (float[4,4] y) { y = Add (x, projection) }", projection=large)
    half_precision_model(full)  # read in float32 alone


def test_lost_precision_is_counted() -> None:
    values = np.array([0.0, 1.0, 2.0**-14, 2.0**-14 * 0.999, -1e-6, 1e-9, -0.0], np.float32)
    half, loss = half_tensor(numpy_helper.from_array(values, "w"), "w/float16")
    assert loss == WeightLoss(elements=7, subnormal=3, zero=1)
    assert half.name == "w/float16" and half.data_type == HALF
    assert loss + WeightLoss(1, 1, 1) == WeightLoss(8, 4, 2)


def test_unknown_type_is_an_error() -> None:
    model = parser.parse_model(HEADER + "g (float[2,4] x) => (float[2,4] y) { a = Relu (x) y = Relu (a) }")
    with pytest.raises(BuildError, match="the type of 'a' is unknown"):
        half_precision_model(model)


# --- Random graphs against a brute-force reading of the policy ---

_KINDS = ("product", "bias", "pair", "add", "relu", "scale", "norm", "turn", "softmax", "mean", "topk", "custom")


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """Up to 14 nodes over values (2, 4, 4), of every kind that the policy tells apart."""
    values, lines = ["x"], []
    for number in range(draw(st.integers(2, 14))):
        kind = draw(st.sampled_from(_KINDS))
        a, b = (values[-1 - min(draw(st.integers(0, 3)), len(values) - 1)] for _ in range(2))
        name = f"v{number}"
        lines += {
            "product": [f"{name} = MatMul ({a}, w)"],
            "bias": [f"{name}p = MatMul ({a}, w)", f"{name} = Add ({name}p, bias)"],
            "pair": [f"{name} = MatMul ({a}, {b})"],
            "add": [f"{name} = Add ({a}, {b})"],
            "relu": [f"{name} = Relu ({a})"],
            "scale": [f"{name} = Mul ({a}, half)"],
            "norm": [f"{name} = LayerNormalization ({a}, bias, bias)"],
            "turn": [f"{name} = Transpose <perm = [0, 2, 1]> ({a})"],
            "softmax": [f"{name} = Softmax <axis = 2> ({a})"],
            "mean": [f"{name} = ReduceMean <keepdims = 1> ({a}, axis)", f"{name}w = Mul ({a}, {name})"],
            "topk": [f"{name}, {name}i = TopK ({a}, four)"],
            "custom": [f"{name} = edgeexport.Passed ({a})"],
        }[kind]
        values.append(f"{name}w" if kind == "mean" else name)
    text = "\n".join(lines)
    model = parser.parse_model(
        HEADER + f"g (float[2,4,4] x) => (float[2,4,4] {values[-1]}) <int64[1] axis = {{2}}, int64[1] four = {{4}}, "
        f"float half = {{0.5}}> {{ {text} }}"
    )
    for name, value in (("w", weight(4, 4)), ("bias", weight(4))):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    described = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for position, value in enumerate(node.output):
            if value not in described:
                kind = TensorProto.INT64 if position else FULL
                extents = [2, 4, 1] if node.op_type == "ReduceMean" else [2, 4, 4]
                model.graph.value_info.append(helper.make_tensor_value_info(value, kind, extents))
    model.functions.append(
        parser.parse_function('<domain: "edgeexport", opset_import: ["": 20]> Passed (a) => (b) { b = Identity (a) }')
    )
    return model


def brute_force(model: onnx.ModelProto) -> set[str]:
    """The policy by definition: every path to a decision is walked, and the rules are applied until nothing changes."""
    nodes = list(model.graph.node)
    outputs = {value.name for value in model.graph.output}
    readers = {value: [node for node in nodes if value in node.input] for node in nodes for value in node.output}
    maker = {value: node for node in nodes for value in node.output}

    def is_product(node: onnx.NodeProto) -> bool:
        if node.op_type == "MatMul":
            return "w" in node.input
        source = maker.get(node.input[0])
        lone = source is not None and len(readers[node.input[0]]) == 1 and node.input[0] not in outputs
        return node.op_type == "Add" and node.input[1] == "bias" and lone and source.op_type == "MatMul"

    def paths(node: onnx.NodeProto) -> Iterator[bool]:
        """For every way forward, whether it meets a decision before a product or norm."""
        for value in node.output:
            if value in outputs:
                yield True
            for reader in readers[value]:
                if reader.op_type in DECIDING or reader.domain == DOMAIN:
                    yield True
                elif not is_product(reader) and reader.op_type not in NORMS:
                    yield any(paths(reader))

    decided = {
        node.output[0]
        for node in nodes
        if not is_product(node) and node.op_type not in NORMS and not node.domain and any(paths(node))
    }

    def logits(value: str) -> set[str]:
        node = maker.get(value)
        if node is None or is_product(node):
            return set()
        if node.op_type == "MatMul":
            return {value}
        if node.op_type in ("Add", "Mul"):
            for operand in node.input:
                if before := logits(operand):
                    return {value, *before}
        return set()

    asked = {node.output[0] for node in nodes if is_product(node)}
    for node in nodes:
        behind = [
            reader
            for reader in readers[node.output[0]]
            if reader.op_type == "MatMul" and not is_product(reader) and reader.input[0] == node.output[0]
        ]
        before = logits(node.input[0])
        if node.op_type == "Softmax" and before and behind:
            asked |= {node.output[0], *before, *(reader.output[0] for reader in behind)} - decided
    half = set(asked)
    for follow in (
        lambda node, read: node.op_type in ("Relu", "Mul", "Add") and node.output[0] not in decided,
        lambda node, read: node.op_type == "Transpose",
    ) * len(nodes):
        for node in nodes:
            read = [value for value in node.input if value != "half"]
            if follow(node, read) and read and all(value in half for value in read):
                half.add(node.output[0])
    for node in reversed(nodes):
        ways = readers[node.output[0]]
        inner = node.op_type == "Transpose" and node.output[0] not in outputs
        if inner and ways and all(reader.output[0] in half for reader in ways):
            half.add(node.output[0])
    return half


@settings(deadline=None, max_examples=150)
@given(graphs())
def test_random_graphs_follow_the_policy(model: onnx.ModelProto) -> None:
    found, report = half_precision_model(model)
    assert half_names(found) == brute_force(model)
    assert report.half_nodes == len(half_names(found))
    known = types(found)
    maker = {value: node for node in found.graph.node for value in node.output}
    constants = {tensor.name for tensor in found.graph.initializer}
    for node in found.graph.node:
        floats = {known[value] for value in (*node.input, *node.output) if value and known[value] in (HALF, FULL)}
        assert len(floats) == 1 or node.name.endswith("/cast")
        if node.domain:
            assert floats == {FULL}
        if node.name.endswith("/cast"):
            assert node.input[0] not in constants
            assert node.input[0] not in maker or not maker[node.input[0]].name.endswith("/cast")
    assert [value.type.tensor_type.elem_type for value in found.graph.output] == [FULL]


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
    from edgeexport.freeze.fixed import fixed_from_model
    from edgeexport.graph.graphs import export_of_fixed
    from edgeexport.models.weights import model_from_recipe
    from edgeexport.recipe import load_recipe

    path: Path = tmp_path_factory.mktemp("half") / "tiny.py"
    path.write_text(TINY_RECIPE)
    recipe = load_recipe(path)
    model, _ = model_from_recipe(recipe)
    return export_of_fixed(fixed_from_model(model, recipe), {})


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
