"""The float16 pass on random graphs, against a brute-force reading of its policy."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from half_precision_cases import FULL, HALF, HEADER, half_names, inferred, types, weight
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

from edgeexport.graph.half_precision import half_precision_model
from edgeexport.graph.half_precision_policy import DECIDING, NORMS
from edgeexport.ops import DOMAIN

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


def test_attention_by_constant_queries_is_attention() -> None:
    """A decoder's first queries are constants with heads; weights are matrices of two axes."""
    model = inferred(
        """queries (float[1, 2, 6, 4] x) => (float[1, 2, 3, 4] y) {
            keys = MatMul (x, w)
            columns = Transpose <perm = [0, 1, 3, 2]> (keys)
            logits = MatMul (query, columns)
            shares = Softmax <axis = -1> (logits)
            mixed = MatMul (shares, keys)
            y = MatMul (mixed, w)
        }""",
        w=weight(4, 4),
        query=weight(1, 2, 3, 4),
    )
    assert half_names(half_precision_model(model)[0]) >= {"keys", "columns", "logits", "shares", "mixed"}
    told = [*model.graph.output, helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 3, 6])]
    del model.graph.output[:]
    model.graph.output.extend(told)
    assert "logits" not in half_names(half_precision_model(model)[0]), "a product that somebody reads is float32"
