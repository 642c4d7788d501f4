"""A bundle with a user's decoder behind the features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import open_bundle
from edgeexport.commands.build import build
from edgeexport.commands.run import predict_images
from edgeexport.documents import read_golden
from edgeexport.verify.golden_check import golden_comparisons

RECIPE = """
model = dict(type="timm", img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=0)
input = dict(shape=(2, 3, 32, 32), preprocess=dict(mean=[120, 120, 120], std=[60, 60, 60]), crop=dict(pct=0.9))
head = dict(onnx="maps/saliency.onnx", input="features")
extra_outputs = ("features", "embedding")
reduction = dict(tome=dict(r=3))
"""


def test_a_decoder_is_exported_proven_and_run_behind_reduced_features(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    weight = np.random.default_rng(3).normal(size=(24, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Sigmoid", ["y"], ["saliency"])],
        "decoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("B", 17, 24))],
        [helper.make_tensor_value_info("saliency", TensorProto.FLOAT, ("B", 17, 1))],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "maps/saliency.onnx",
    )
    (tmp_path / "small.py").write_text(RECIPE)
    result = build(tmp_path / "small.py", "cpu", work_dir=tmp_path / "b", plans=False, local_engine=False)
    assert {item.check for item in result.comparisons if item.status == "passed"} >= {
        "original against fixed", "fixed torch against exported graph", "batch against images one by one"
    }  # fmt: skip
    bundle = open_bundle(tmp_path / "b")
    assert [info["name"] for info in bundle.manifest["outputs"]] == ["saliency", "features", "embedding"]
    assert "decoder.onnx" in bundle.manifest["files"]
    golden = read_golden(bundle.path / "golden.npz", bundle.manifest)
    found = OnnxRuntimeRunner(bundle.path / "model.onnx").run(golden["case0/image"])
    expected = 1 / (1 + np.exp(-(found["features"] @ weight)))
    np.testing.assert_allclose(found["saliency"], expected, atol=1e-5)
    np.testing.assert_allclose(golden["case0/saliency"], expected, atol=1e-4)
    assert {item.status for item in golden_comparisons(bundle, OnnxRuntimeRunner(bundle.path / "model.onnx"))} == {
        "passed"
    }
    work = bundle.json("work.json")
    assert {node["part"] for node in work["nodes"]} >= {"decode_head", "restore"} and "other" not in str(work)
    Image.new("RGB", (50, 40), (90, 30, 20)).save(tmp_path / "p.png")
    (predicted,) = predict_images(bundle.path, [tmp_path / "p.png"], tmp_path / "out").images
    assert predicted.features == tmp_path / "out" / "p_features.png" and predicted.features.is_file()
    assert predicted.map is None, "17 values are no map"
    assert predicted.regions is not None and (predicted.labels, predicted.overlay) == (None, None)
