"""Files that the lint is given: weights elsewhere, names that are no text, and what is no model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from lint_cases import ONE_INPUT, model_of
from onnx import numpy_helper

from edgeexport.errors import UsageError
from edgeexport.graph.lint import lint_model


def test_weights_in_an_external_file_stay_unread(tmp_path: Path) -> None:
    model = model_of("(float[1,64] x) => (float[1,5] y)", "m = MatMul(x, w) y, i = TopK(m, k)", "int64[1] k = {5}")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 4096), np.float32), "w"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)  # k lives there too
    report = lint_model(path)
    assert report.findings == () and report.model == str(path)
    assert (report.node_count, report.value_count) == (2, 4)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Protobuf reads them, and says so at the first look at one."""
    path = tmp_path / "model.onnx"
    model = model_of("(float[8] x) => (float[8] y)", "first = Relu(x) y = Relu(first)")
    model.producer_name = "somebody"
    content = model.SerializeToString()
    path.write_bytes(content.replace(b"first", b"f\xe9rst"))
    assert any(finding.rule == "invalid-graph" and "utf-8" in finding.message for finding in lint_model(path).errors)
    path.write_bytes(content.replace(b"somebody", b"s\xefmebody"))
    with pytest.raises(UsageError, match=r"model\.onnx \| is damaged: .*utf-8"):
        lint_model(path)


def _with_external_weights(folder: Path, location: str, **more: str) -> Path:
    model = model_of("(float[1,64] x) => (float[1,64] y)", "y = Mul(x, w)")
    weights = model.graph.initializer.add(name="w", data_type=1, dims=[64], data_location=1)
    for key, value in {"location": location, **more}.items():
        weights.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("location", "more", "words"),
    [
        ("absent.bin", {}, "external data file 'absent.bin' is missing"),
        ("../w.bin", {}, "expected a file beside the model"),
        ("w.bin", {"offset": "nothing"}, "weight 'w' points nowhere"),
        ("w.bin", {"length": "9999"}, "has 8 bytes, 'w' ends at 9999"),
        ("w.bin", {"offset": "9"}, "has 8 bytes, 'w' ends at 9"),
    ],
)
def test_external_weights_that_cannot_be_had(tmp_path: Path, location: str, more: dict[str, str], words: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    with pytest.raises(UsageError, match=words):
        lint_model(_with_external_weights(tmp_path, location, **more))


def test_external_values_of_attributes_are_looked_for_too(tmp_path: Path) -> None:
    model = model_of(ONE_INPUT, "c = Constant<value = float {1.0}>() y = Mul(x, c)")
    value = model.graph.node[0].attribute[0].t
    value.ClearField("float_data")
    value.data_location = 1
    value.external_data.add(key="location", value="absent.bin")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"model\.onnx \| external data file 'absent.bin' is missing"):
        lint_model(tmp_path / "model.onnx")


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"hello, world", "is not an ONNX model")])
def test_files_that_are_no_models_are_usage_errors(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        lint_model(path)


def test_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; import edgeexport.graph.lint; print('fine')"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.returncode) == ("fine", 0), result.stderr
