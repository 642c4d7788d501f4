"""A bundle whose weights lie beside its graphs, as every large model's do: built, run, verified, looked into, moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="builds bundles")

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import open_bundle
from edgeexport.commands.build import build
from edgeexport.commands.debug import debug_bundle
from edgeexport.commands.lint import lint_subject
from edgeexport.commands.verify import verify_bundle
from edgeexport.cost.kernel_plan import read_plans
from edgeexport.errors import BundleError
from edgeexport.graph import weights_apart

TINY_TOME = """
model = dict(type="timm", img_size=64, patch_size=16, embed_dim=96, depth=2, num_heads=2, num_classes=5)
input = dict(shape=(1, 3, 64, 64), preprocess=dict(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)))
output = "logits"
reduction = dict(tome=dict(r=3))
"""


@pytest.fixture(autouse=True)
def _always_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_apart, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(weights_apart, "IN_ONE_FILE_BYTES", 0)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_tome.py"
    path.write_text(TINY_TOME)
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_bundle_with_its_weights_apart_does_all_that_others_do(recipe: Path, tmp_path: Path, precision: str) -> None:
    folder = tmp_path / "bundle"
    built = build(recipe, "cpu", precision=precision, work_dir=folder)
    assert built.engine is not None
    assert all(item.status == "passed" for item in built.comparisons)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "weights.bin" in manifest["files"]
    assert (folder / "model.onnx").stat().st_size < (folder / "weights.bin").stat().st_size / 4
    moved = shutil.move(folder, tmp_path / "moved")
    assert all(item.status == "passed" for item in verify_bundle(Path(moved), engine="none").comparisons)
    assert not [item for item in lint_subject(str(moved), "cpu", ()).report.findings if item.severity == "error"]
    apart, whole = open_bundle(Path(moved)), open_bundle(build_whole(recipe, tmp_path, precision))
    image = np.random.default_rng(0).integers(0, 256, apart.input.shape, np.uint8)
    outputs = [OnnxRuntimeRunner(item.path / "model.onnx").run(image)["logits"] for item in (apart, whole)]
    np.testing.assert_array_equal(*outputs)


def test_debug_looks_into_it(recipe: Path, tmp_path: Path) -> None:
    built = build(recipe, "cpu", work_dir=tmp_path / "bundle", local_engine=False)
    for precision in (None, "fp16"):
        assert debug_bundle(built.bundle.path, precision=precision).drift is None


def test_a_damaged_file_of_weights_is_told(recipe: Path, tmp_path: Path) -> None:
    folder = build(recipe, "cpu", work_dir=tmp_path / "bundle", local_engine=False).bundle.path
    content = bytearray((folder / "weights.bin").read_bytes())
    content[100] ^= 1
    (folder / "weights.bin").write_bytes(content)
    with pytest.raises(BundleError, match=r"weights\.bin"):
        open_bundle(folder)
    (folder / "weights.bin").unlink()
    with pytest.raises(BundleError, match=r"weights\.bin"):
        open_bundle(folder)


def test_tensorrt_rtx_gets_weights_apart(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="compiles for SM86")
    built = build(recipe, "orin", work_dir=tmp_path / "bundle")
    assert built.bundle.manifest["checks"]["tensorrt_rtx"]["status"] == "passed"
    asked = lint_subject(str(built.bundle.path), "orin", (), ask_tensorrt=True)
    assert asked.tensorrt is not None and asked.tensorrt.status == "passed"
    assert read_plans(built.bundle.path) is not None


def build_whole(recipe: Path, tmp_path: Path, precision: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights_apart, "IN_MEMORY_BYTES", 1 << 40)
        patch.setattr(weights_apart, "IN_ONE_FILE_BYTES", 1 << 40)
        built = build(recipe, "cpu", precision=precision, work_dir=tmp_path / "whole", local_engine=False)
    assert not (built.bundle.path / "weights.bin").exists()
    return built.bundle.path
