from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from edgeexport.errors import UsageError
from edgeexport.graph.skeleton import skeleton_from_model
from edgeexport.ops.onnx_reading import model_from_file


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose one weight, 64 bytes, lives in weights.bin."""
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (float[4,4] x) => (float[4,4] y) { y = MatMul(x, w) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def _with_location(path: Path, location: str) -> None:
    model = onnx.load(path, load_external_data=False)
    next(item for item in model.graph.initializer[0].external_data if item.key == "location").value = location
    path.write_bytes(model.SerializeToString())


def test_reads_the_graph_and_leaves_the_weights(external: Path) -> None:
    model = model_from_file(external)
    assert model.graph.node[0].op_type == "MatMul"
    assert not model.graph.initializer[0].raw_data


def test_missing_external_data(external: Path) -> None:
    (external.parent / "weights.bin").unlink()
    with pytest.raises(UsageError, match=r"external data file 'weights\.bin' is missing \(weight 'w'\)") as caught:
        model_from_file(external)
    assert caught.value.exit_code == 2 and str(external.parent) in caught.value.remedy


def test_external_data_cut_short(external: Path) -> None:
    (external.parent / "weights.bin").write_bytes(b"\0" * 63)
    with pytest.raises(UsageError, match="has 63 bytes, 'w' ends at 64"):
        model_from_file(external)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname"])
def test_external_data_outside_the_folder(external: Path, location: str) -> None:
    _with_location(external, location)
    with pytest.raises(UsageError, match="expected a file beside the model"):
        model_from_file(external)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x08\x09", "is not an ONNX model"),  # parses as protobuf, has no graph
        (b"import torch", "is not an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_not_a_model(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        model_from_file(path)


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        model_from_file(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        model_from_file(tmp_path / "absent.onnx")


def test_larger_than_protobuf_can_be(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # sparse: takes no space
    with pytest.raises(UsageError, match="external data"):
        model_from_file(path)


def test_weights_behind_a_link_are_read_as_in_a_download_cache(external: Path) -> None:
    weights = external.parent / "weights.bin"
    weights.rename(external.parent / "blob")
    weights.symlink_to("blob")
    kept = skeleton_from_model(model_from_file(external), base_dir=external.parent).model.graph.initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(kept), np.eye(4, dtype=np.float32))
