"""What the lint tells people to run on a graph of dynamic shapes does what it is said to do."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from edgeexport.errors import ParityError
from edgeexport.graph import fixed_shapes
from edgeexport.graph.lint import lint_model

_CLASS_TOKEN = """<ir_version: 9, opset_import: ["": 18]>
g (float[batch,4,8] pixels) => (float[batch,5,8] y) <int64[2] rest = {1, 8}, float[1,1,8] token = {1,2,3,4,5,6,7,8}> {
    batch_size = Shape <start = 0, end = 1> (pixels)
    shape = Concat <axis = 0> (batch_size, rest)
    first = Expand (token, shape)
    y = Concat <axis = 1> (first, pixels)
}"""
"""As torch's newer exporter writes it."""


def _command(path: Path) -> list[str]:
    """The remedy's, without the program's name."""
    remedies = {finding.remedy for finding in lint_model(path).errors if finding.op_type == "input"}
    (remedy,) = remedies
    return shlex.split(remedy[remedy.index("edgeexport lint ") :])[1:]


def _run(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)


@pytest.mark.parametrize(
    "text",
    [
        _CLASS_TOKEN,
        """<ir_version: 10, opset_import: ["": 20]>
        g (float[N,4,8] pixels) => (float[M,8] y) <int64[1] first = {0}, int64[1] four = {4}, int64[1] eight = {8}> {
            size = Shape (pixels)
            n = Gather (size, first)
            rows = Mul (n, four)
            target = Concat <axis = 0> (rows, eight)
            flat = Reshape (pixels, target)
            y = Softmax <axis = 1> (flat)
        }""",
    ],
)
def test_command_of_the_remedy_makes_the_graph_static(edgeexport, tmp_path: Path, text: str) -> None:
    path = tmp_path / "dynamic model.onnx"
    onnx.save(parser.parse_model(text), path)
    done = edgeexport(*_command(path), "--json")
    assert done.code == 0, done.out + done.err
    static = tmp_path / "dynamic model_static.onnx"
    assert json.loads(done.out)["fixed"] == {
        "path": str(static),
        "inputs": {"pixels": [1, 4, 8]},
        "largest_difference": 0.0,
    }
    assert lint_model(static).findings == ()
    outputs = onnx.load(static).graph.output
    assert [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in outputs] in ([[1, 5, 8]], [[4, 8]])
    feed = {"pixels": np.random.default_rng(1).standard_normal((1, 4, 8)).astype(np.float32)}
    np.testing.assert_array_equal(_run(static, feed)[0], _run(path, feed)[0])


def test_weights_in_another_file_are_shared(edgeexport, tmp_path: Path) -> None:
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (float[N,64] x) => (float[N,64] y) { y = MatMul (x, w) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.eye(64, dtype=np.float32), "w"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "elsewhere").mkdir()
    done = edgeexport("lint", path, "--fix", tmp_path / "elsewhere/static.onnx", "--input-shape", "x=3,64")
    assert done.code == 2 and "shares the weights beside" in done.err
    for form in ("x=3,64", "x:3x64"):
        done = edgeexport("lint", path, "--fix", tmp_path / "static.onnx", "--input-shape", form)
        assert done.code == 0, done.err
    assert sorted(item.name for item in tmp_path.iterdir()) == ["elsewhere", "model.onnx", "static.onnx", "weights.bin"]
    assert lint_model(tmp_path / "static.onnx").findings == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("x=1,HEIGHT",), "expected NAME=1,3,224,224"),
        (("x=0,8",), "whole numbers from 1"),
        (("x=1,9",), "Can't replace existing fixed size of 8"),
        (("x=1,8,8",), "Rank mismatch"),
        (("z=1,8",), "Input z was not found"),
        ((), "inputs x stay dynamic"),
        (("x=3,8",), "does not run in ONNX Runtime with these shapes"),
    ],
)
def test_shapes_that_do_not_fit(edgeexport, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    """The last one breaks a Reshape, which both tools take; nothing is left behind."""
    text = """<ir_version: 9, opset_import: ["": 18]> g (float[N,8] x) => (float[M,16] y) <int64[2] s = {-1, 16}>
        { y = Reshape (x, s) }"""
    path = tmp_path / "model.onnx"
    onnx.save(parser.parse_model(text), path)
    shapes = [word for option in options for word in ("--input-shape", option)]
    done = edgeexport("lint", path, "--fix", tmp_path / "static.onnx", *shapes)
    assert done.code == 2 and words in done.err, done.err
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]
    done = edgeexport("lint", path, "--fix", path, "--input-shape", "x=2,8")
    assert done.code == 2 and "is the file itself" in done.err
    assert edgeexport("lint", path, "--input-shape", "x=2,8").code == 2


def test_a_static_form_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(parser.parse_model(_CLASS_TOKEN), path)
    right = fixed_shapes._set_shapes

    def wrong(path: Path, model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> None:
        right(path, model, shapes)
        next(tensor for tensor in model.graph.initializer if tensor.name == "token").float_data[2] = 3.001

    monkeypatch.setattr(fixed_shapes, "_set_shapes", wrong)
    with pytest.raises(ParityError, match="gives another 'y'"):
        fixed_shapes.fixed_file(path, tmp_path / "static.onnx", {"pixels": (2, 4, 8)})
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.slow  # 20 s: torch's exporter on a whole model
def test_a_vit_of_timm_with_a_dynamic_batch(edgeexport, tmp_path: Path) -> None:
    import timm
    import torch

    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=2).eval()
    path = tmp_path / "vit.onnx"
    batch = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, 224, 224),),
            path,
            dynamo=True,
            dynamic_shapes=batch,
            opset_version=20,
            verbose=False,
        )
    done = edgeexport(*_command(path), "--json")
    assert done.code == 0, done.out + done.err
    document = json.loads(done.out)
    assert document["ok"] and document["findings"] == [] and document["fixed"]["largest_difference"] == 0.0
