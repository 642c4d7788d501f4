"""Cutting a graph in two at a decision: the parts compute what the whole does, and share nothing but what comes before both."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError
from edgeexport.graph.graphs import BundleGraphs
from edgeexport.graph.separate import joined_model, parts_of_graphs

CHOICE = TensorInfo("choice", "int64", (2, 3))


def _whole(*, leaking: bool = False) -> onnx.ModelProto:
    """The 3 best of 8 columns by a product, gathered and multiplied; the halved image is read by both sides."""
    rng = np.random.default_rng(0)
    weights = {"score_w": rng.standard_normal((8, 8)), "out_w": rng.standard_normal((3, 4)), "half": np.array(0.5)}
    nodes = [
        helper.make_node("Mul", ["image", "half"], ["x"], name="normalise"),
        helper.make_node("MatMul", ["x", "score_w"], ["scores"], name="policy/MatMul"),
        helper.make_node("TopK", ["scores", "k"], ["values", "choice"], name="policy/TopK"),
        helper.make_node("GatherElements", ["x", "choice"], ["taken"], axis=1, name="gather"),
        helper.make_node("MatMul", ["values" if leaking else "taken", "out_w"], ["y"], name="out"),
    ]
    graph = helper.make_graph(
        nodes,
        "whole",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (2, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 4))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
        + [numpy_helper.from_array(np.array([3]), "k")],
        value_info=[helper.make_tensor_value_info("choice", TensorProto.INT64, (2, 3))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _graphs(model: onnx.ModelProto) -> BundleGraphs:
    image, y = TensorInfo("image", "float32", (2, 8)), TensorInfo("y", "float32", (2, 4))
    return BundleGraphs(model, model, model, model, model, image, (), (y,), (CHOICE,))


def test_without_a_decision_the_graph_stays_whole() -> None:
    graphs = _graphs(_whole())
    assert parts_of_graphs(graphs, None) == {"model": graphs}


def test_the_parts_compute_what_the_whole_does() -> None:
    whole = _whole()
    before = whole.SerializeToString()
    parts = parts_of_graphs(_graphs(whole), "choice")
    assert whole.SerializeToString() == before
    policy, model = parts["policy"], parts["model"]
    assert [node.name for node in policy.plain.graph.node] == ["normalise", "policy/MatMul", "policy/TopK"]
    assert [node.name for node in model.plain.graph.node] == ["normalise", "gather", "out"]
    assert {tensor.name for tensor in model.plain.graph.initializer} == {"half", "out_w"}
    assert (policy.outputs, policy.inner, policy.extra_inputs) == ((CHOICE,), (), ())
    assert ([item.name for item in model.outputs], model.inner, model.extra_inputs) == (["y"], (), (CHOICE,))
    whole_runner = OnnxRuntimeRunner(before, extra_outputs=[CHOICE])
    runners = {name: OnnxRuntimeRunner(part.for_plugins.SerializeToString()) for name, part in parts.items()}
    joined = OnnxRuntimeRunner(joined_model(policy.plain, model.plain, "choice").SerializeToString())
    for seed in (1, 2):
        image = np.random.default_rng(seed).standard_normal((2, 8)).astype(np.float32)
        expected, choice = whole_runner.run(image), runners["policy"].run(image)["choice"]
        assert np.array_equal(choice, expected["choice"])
        assert np.array_equal(runners["model"].run(image, {"choice": choice})["y"], expected["y"])
        assert np.array_equal(joined.run(image)["y"], expected["y"])
        other = choice[:, ::-1].copy()  # the model goes by what it is given
        assert not np.array_equal(runners["model"].run(image, {"choice": other})["y"], expected["y"])


def test_a_choice_that_is_an_output_is_the_policys_alone() -> None:
    whole = _whole()
    whole.graph.output.append(helper.make_tensor_value_info("choice", TensorProto.INT64, (2, 3)))
    graphs = _graphs(whole)
    parts = parts_of_graphs(
        BundleGraphs(whole, whole, whole, whole, whole, graphs.input, (), (*graphs.outputs, CHOICE), ()), "choice"
    )
    assert [item.name for item in parts["model"].outputs] == ["y"]
    assert [value.name for value in parts["model"].plain.graph.output] == ["y"]
    assert [value.name for value in parts["policy"].plain.graph.output] == ["choice"]


def test_a_model_that_needs_more_of_the_network_is_refused() -> None:
    with pytest.raises(BuildError, match=r"cannot be cut at 'choice': the model also needs 'policy/MatMul'"):
        parts_of_graphs(_graphs(_whole(leaking=True)), "choice")


def test_a_value_that_is_not_there_is_refused() -> None:
    with pytest.raises(BuildError, match=r"has no value 'shared' to be cut at \| available: y, choice"):
        parts_of_graphs(_graphs(_whole()), "shared")
