# ruff: noqa: E501 - whole messages are asserted, one case a line
"""A user's decoder behind a model's features: what fits, and what is said where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from recipe_cases import TINY, TINY_TIMM

WEIGHT = np.random.default_rng(3).normal(size=(48, 2)).astype(np.float32)


def decoder_of(
    path: Path, shape: Sequence[object], *, kind: int = TensorProto.FLOAT, output: str = "map", **more: object
) -> Path:
    """Sigmoid of a product over the channels of features (B, N, 48)."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "first"),
        helper.make_node("Sigmoid", ["y"], [output], "second"),
    ]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, None, 2])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    opset = helper.make_opsetid("", int(more.get("opset", 17)))  # type: ignore[call-overload]
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def head(input: object = "features", onnx: str = "d.onnx") -> dict:
    return {("head",): {"onnx": onnx, "input": input}}


@pytest.mark.parametrize("shape", [(1, 65, 48), ("B", 65, 48), (None, None, 48)])
def test_a_decoder_that_fits_gives_the_prediction(shape, tmp_path, validated):
    path = decoder_of(tmp_path / "d.onnx", shape)
    recipe = validated({**head(), ("extra_outputs",): ("embedding", "features")}, TINY_TIMM)
    assert (recipe.output, recipe.prediction) == ("features", "map")
    assert recipe.graph_outputs == ("map", "embedding", "features")
    assert (recipe.decoder.path, recipe.decoder.reads) == (path, ("features",))
    assert recipe.text["head"] == {"onnx": "decoder.onnx", "input": ["features"]}
    assert recipe.facts.restores


def test_taps_that_a_decoder_reads_are_no_outputs(tmp_path, validated):
    decoder_of(tmp_path / "d.onnx", (1, 65, 48))
    recipe = validated({**head("tap_3"), ("taps",): [3]}, TINY_TIMM)
    assert (recipe.graph_outputs, recipe.facts.executed) == (("map",), 4)


@pytest.mark.parametrize(
    ("shape", "given", "said"),
    [
        ((1, 257, 48), head(), "its input 'x' is (1, 257, 48), and features are float32 (1, 65, 48) | export the decoder for that shape"),
        ((1, 48, 8, 8), head(), "its input 'x' is (1, 48, 8, 8), and features are float32 (1, 65, 48) | read feature_map"),
        (("B", 65, 32), head(), "its input 'x' is (?, 65, 32), and features are"),
        ((1, 65, 48), head("feture_map"), "head.input = 'feture_map' | this model gives no such features | did you mean 'feature_map'?"),
        ((1, 65, 48), head("logits"), "head.input = 'logits' | this model gives no such features"),
        ((1, 65, 48), head(["features", "embedding"]), "it has 1 inputs (x), head.input names 2"),
        ((1, 65, 48), head(onnx="other.onnx"), "no such file"),
        ((1, 65, 48), {("head",): {"onnx": "d.onnx"}}, "required key 'input' is missing | add input='features'"),
        ((1, 65, 48), {("head",): {"onx": "d.onnx", "input": "features"}}, "did you mean 'onnx'?"),
        ((1, 65, 48), {**head(), ("output",): "logits"}, "output = 'logits' | expected one of 'features'"),
    ],
)  # fmt: skip
def test_a_decoder_that_does_not_fit_is_refused(shape, given, said, tmp_path, refused):
    decoder_of(tmp_path / "d.onnx", shape)
    assert said in refused(given, TINY_TIMM)


def test_files_that_are_no_decoder_are_refused(tmp_path, refused):
    (tmp_path / "d.onnx").write_bytes(b"not onnx")
    assert "is no valid ONNX file" in refused(head(), TINY_TIMM)
    decoder_of(tmp_path / "d.onnx", (1, 65, 48), kind=TensorProto.DOUBLE)
    assert "is double (1, 65, 48), and features are float32" in refused(head(), TINY_TIMM)
    decoder_of(tmp_path / "d.onnx", (1, 65, 48), output="embedding")
    assert "its output 'embedding' is called as one of the model's own | rename it" in refused(head(), TINY_TIMM)


def test_a_model_without_features_takes_no_decoder(tmp_path, refused):
    decoder_of(tmp_path / "d.onnx", (1, 65, 48))
    assert "this model gives no such features | use a model of timm" in refused(head(), TINY)
