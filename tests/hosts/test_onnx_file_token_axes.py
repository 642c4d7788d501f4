"""Sizes that an export baked in, rewritten for another number of tokens."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeexport.device.plain_session import plain_session
from edgeexport.hosts.onnx_file.axis import Axis
from edgeexport.hosts.onnx_file.graph import PlainGraph
from edgeexport.hosts.onnx_file.plain import plain_graph
from edgeexport.hosts.onnx_file.refused import NotRecognised
from edgeexport.hosts.onnx_file.token_axes import TokenAxes

BATCH, TOKENS, HEADS, HEAD = 2, 6, 3, 4
WIDTH = HEADS * HEAD


def graph_of(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> PlainGraph:
    """Nodes behind 'x', (B, N, 1, C) as the input has it, which is first taken to (B, N, C)."""
    first = helper.make_node("Reshape", ["image", "to"], ["x"])
    tensors = {"to": np.array([BATCH, TOKENS, WIDTH]), **constants}
    model = helper.make_model(
        helper.make_graph(
            [first, *nodes],
            "g",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [BATCH, TOKENS, 1, WIDTH])],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    return plain_graph(model, "g", (BATCH, TOKENS, 1, WIDTH))


def followed(graph: PlainGraph) -> TokenAxes:
    axes = TokenAxes(graph, TOKENS, 1)
    axes.axes["x"] = (Axis(0, BATCH), Axis(1, 0), Axis(0, WIDTH))
    axes.follow(range(1, len(graph.nodes)))
    return axes


def run(graph: PlainGraph, axes: TokenAxes, x: np.ndarray) -> np.ndarray:
    """The nodes with their sizes rewritten for x's tokens."""
    tokens, nodes, constants = x.shape[1], [], dict(graph.tensors)
    for position, node in enumerate(graph.nodes[1:], start=1):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index in range(len(node.input)):
            if (position, index) in axes.sizes:
                name = f"{position}_{index}"
                sizes = np.array(axes.sizes[position, index](tokens), dtype=np.int64)
                constants[name] = numpy_helper.from_array(sizes, name)
                copy.input[index] = name
        nodes.append(copy)
    result = graph.outputs[0]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
            list(constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    return plain_session(model.SerializeToString()).run(None, {"x": x})[0]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Heads split off, axes in any order, and neighbours joined that leave tokens in one piece."""
    order = draw(st.permutations([0, 1, 2, 3]))
    sizes = [(BATCH, TOKENS, HEADS, HEAD)[place] for place in order]
    where = order.index(1)
    nodes = [
        helper.make_node("Reshape", ["x", "split"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=list(order)),
    ]
    constants = {
        "split": np.array([draw(st.sampled_from([BATCH, 0])), draw(st.sampled_from([TOKENS, 0])), HEADS, HEAD])
    }
    joins = [place for place in range(3) if where != place]  # tokens may be the second of two, never the first
    if draw(st.booleans()) and joins:
        place = draw(st.sampled_from(joins))
        target = [*sizes[:place], sizes[place] * sizes[place + 1], *sizes[place + 2 :]]
        if draw(st.booleans()):
            target[draw(st.integers(0, len(target) - 1))] = -1
        nodes.append(helper.make_node("Reshape", ["t", "joined"], ["out"]))
        constants["joined"] = np.array(target)
    else:
        nodes.append(helper.make_node("Identity", ["t"], ["out"]))
    return nodes, constants


@given(layouts(), st.integers(1, TOKENS))
@settings(max_examples=60, deadline=None)
def test_fewer_tokens_give_what_they_gave_among_all(case: tuple, tokens: int) -> None:
    nodes, constants = case
    graph = graph_of(nodes, constants)
    axes = followed(graph)
    x = np.random.default_rng(0).normal(size=(BATCH, TOKENS, WIDTH)).astype(np.float32)
    whole, fewer = run(graph, axes, x), run(graph, axes, x[:, :tokens])
    place = next(place for place, axis in enumerate(axes.of("out")) if axis.per_token)
    outer = axes.of("out")[place].per_token
    split = whole.reshape(*whole.shape[:place], outer, TOKENS, *whole.shape[place + 1 :])
    kept = split.take(range(tokens), axis=place + 1)
    assert np.array_equal(fewer, kept.reshape(fewer.shape))


def test_tokens_that_are_taken_apart_are_refused() -> None:
    nodes = [helper.make_node("Reshape", ["x", "apart"], ["out"])]
    with pytest.raises(NotRecognised, match="takes tokens apart"):
        followed(graph_of(nodes, {"apart": np.array([BATCH, 2, TOKENS // 2, WIDTH])}))


def test_a_table_with_one_row_for_all_is_narrowed_and_one_with_a_row_each_is_kept() -> None:
    table = np.random.default_rng(1).normal(size=(TOKENS, WIDTH)).astype(np.float32)
    for value, narrowed, tables in ((table, 0, 1), (np.broadcast_to(table[:1], table.shape), 1, 0)):
        axes = followed(graph_of([helper.make_node("Mul", ["x", "table"], ["out"])], {"table": value}))
        assert (len(axes.narrowed), len(axes.tables)) == (narrowed, tables)


@pytest.mark.parametrize(
    ("node", "constants", "said"),
    [
        (helper.make_node("ReduceMean", ["x", "axes"], ["out"]), {"axes": np.array([1])}, "reduces the axis of tokens"),
        (helper.make_node("Softmax", ["x"], ["out"], axis=1), {}, "normalises along the axis of tokens"),
        (helper.make_node("MatMul", ["w", "x"], ["out"]), {"w": np.ones((TOKENS, TOKENS), np.float32)}, "sums over tokens"),
        (helper.make_node("Gather", ["x", "i"], ["out"], axis=1), {"i": np.array(3)}, "takes elements 3 to 4"),
        (helper.make_node("CumSum", ["x", "i"], ["out"]), {"i": np.array(1)}, "not followed through this operator"),
    ],
)  # fmt: skip
def test_what_connects_tokens_is_refused(node: onnx.NodeProto, constants: dict, said: str) -> None:
    with pytest.raises(NotRecognised, match=said):
        followed(graph_of([node], constants))
