"""A user's decoder in a graph: names apart, sizes that it computes made constant, an older version of the operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgeexport.errors import UsageError
from edgeexport.fixed.decoder import Decoder
from edgeexport.graph.decoder import append_decoder
from edgeexport.recipe.decoder import DecoderSpec

SPEC = {"reads": ("features",), "inputs": ("x",), "outputs": ("map",)}
FLOAT = TensorProto.FLOAT


def host() -> onnx.ModelProto:
    """Gives float32 (2, 6, 4) features; its node's value is called as one in the decoder."""
    nodes = [helper.make_node("Relu", ["image"], ["y"]), helper.make_node("Neg", ["y"], ["features"])]
    ends = [helper.make_tensor_value_info(name, FLOAT, (2, 6, 4)) for name in ("image", "features")]
    graph = helper.make_graph(nodes, "host", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def decoder(path: Path, *, opset: int = 14, last: str = "Sigmoid", size: tuple[int, ...] = (-1, 4)) -> Path:
    """As an exporter with open axes writes it: (B, 6, 4) -> (B, 24 / 4, 4) by the shape of its input."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
        helper.make_node(last, ["y"], ["map"]),
    ]
    held = {"zero": np.array([0]), "rest": np.array(size)}
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("x", FLOAT, ("B", "N", 4))],
        [helper.make_tensor_value_info("map", FLOAT, ("B", "M", 4))],
        [numpy_helper.from_array(value.astype(np.int64), name) for name, value in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def test_a_decoder_with_open_axes_becomes_constant(tmp_path):
    model, path = host(), decoder(tmp_path / "d.onnx")
    append_decoder(model, DecoderSpec(path, "", **SPEC))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu", "Neg", "Reshape", "Sigmoid"]
    assert [value.name for value in model.graph.output] == ["features", "map"]
    assert [dim.dim_value for dim in model.graph.output[1].type.tensor_type.shape.dim] == [2, 6, 4]
    image = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    features, found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": image})
    (alone,) = onnxruntime.InferenceSession(path).run(None, {"x": features})
    assert np.array_equal(found, alone)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(np.maximum(image, 0))), atol=1e-6)


def test_what_cannot_be_made_constant_is_refused(tmp_path):
    path = decoder(tmp_path / "d.onnx", last="NonZero")
    with pytest.raises(UsageError, match="has no constant shape") as caught:
        append_decoder(host(), DecoderSpec(path, "", **SPEC))
    assert caught.value.exit_code == 2


def test_the_reference_runs_the_file_itself_on_as_many_images_as_it_takes(tmp_path):
    features = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0))
    open_axes = Decoder(DecoderSpec(decoder(tmp_path / "d.onnx"), "", **SPEC))({"features": features})["map"]
    torch.testing.assert_close(open_axes, features.sigmoid())
    model = onnx.load(tmp_path / "d.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(model, tmp_path / "three.onnx")
    fixed = Decoder(DecoderSpec(tmp_path / "three.onnx", "", **SPEC))({"features": features})["map"]
    assert torch.equal(fixed, open_axes)


def test_a_file_that_does_not_run_is_told(tmp_path):
    broken = Decoder(DecoderSpec(decoder(tmp_path / "d.onnx", size=(5, 4)), "", **SPEC))
    with pytest.raises(UsageError, match="does not run on the model's features") as caught:
        broken({"features": torch.zeros(1, 6, 4)})
    assert caught.value.exit_code == 2
