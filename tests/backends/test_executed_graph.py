"""Reading an ONNX file's nodes without the onnx package, against the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from edgeexport.backends.executed_graph import nodes_from_onnx
from edgeexport.errors import BundleError


def test_same_nodes_as_onnx_reads(tiny_bundle: Path) -> None:
    path = tiny_bundle / "model.onnx"
    expected = onnx.load(path).graph.node
    found = nodes_from_onnx(path)
    assert [(node.name, node.op_type, node.inputs, node.outputs) for node in found] == [
        (node.name, node.op_type, tuple(node.input), tuple(node.output)) for node in expected
    ]


def test_nameless_nodes_are_called_by_operator_and_position(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]> g (float[2] x) => (float[2] y) {t = Neg(x) y = Neg(t)}'
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = nodes_from_onnx(tmp_path / "m.onnx")
    assert [(node.name, node.outputs) for node in found] == [("Neg_0", ("t",)), ("Neg_1", ("y",))]


@pytest.mark.parametrize("content", [b"", b"\x3a\xff\xff\xff\x0f", b"not an onnx file at all", b"\x3a\x02\x0a\x09"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BundleError) as caught:
        nodes_from_onnx(tmp_path / "m.onnx")
    assert caught.value.exit_code == 9


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"engine\.onnx"):
        nodes_from_onnx(tmp_path / "engine.onnx")


def test_profiling_modules_import_without_torch_and_onnx() -> None:
    code = (
        "import sys\nfor name in ('torch', 'onnx', 'timm', 'onnxruntime'): sys.modules[name] = None\n"
        "import edgeexport.profile.attribution, edgeexport.profile.layers, "
        "edgeexport.profile.measured_ceilings, edgeexport.cost.roofline"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
