"""Weights beside the graphs: every one once, the same results, the same bytes, and other weights another hash."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import sha256_of
from edgeexport.bundle.tensor_info import TensorInfo
from edgeexport.errors import BuildError
from edgeexport.graph import weights_apart
from edgeexport.graph.half_precision import half_precision_model
from edgeexport.graph.skeleton import SMALL_TENSOR_ELEMENTS
from edgeexport.graph.weights_apart import (
    WEIGHTS_DIGEST,
    graph_of_file,
    program_of,
    put_weights_apart,
    weights_bytes,
    weights_folder,
    with_weights_apart,
    write_graphs,
)
from edgeexport.ops.onnx_reading import has_external_data

WIDTH = 96  # 96 x 96 is more than stays in a graph
IMAGE = np.random.default_rng(0).standard_normal((1, WIDTH)).astype(np.float32)


def two_products(seed: int = 0) -> onnx.ModelProto:
    """image @ first @ second @ first: two large weights, one of them read twice."""
    generator = np.random.default_rng(seed)
    weights = {name: generator.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 10 for name in ("first", "second")}
    nodes = [
        helper.make_node("MatMul", ["image", "first"], ["a"], name="one"),
        helper.make_node("MatMul", ["a", "second"], ["b"], name="two"),
        helper.make_node("MatMul", ["b", "first"], ["result"], name="three"),
    ]
    row = [1, WIDTH]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, row)],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, row)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
        value_info=[helper.make_tensor_value_info(name, TensorProto.FLOAT, row) for name in "ab"],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def apart(model: onnx.ModelProto) -> onnx.ModelProto:
    program = ir.from_proto(model)
    put_weights_apart(program, always=True)
    return ir.to_proto(program)


def result_of(model: onnx.ModelProto) -> np.ndarray:
    return OnnxRuntimeRunner(model.SerializeToString(), weights=weights_folder(model)).run(IMAGE)["result"]


def test_small_models_keep_their_weights() -> None:
    program = ir.from_proto(two_products())
    put_weights_apart(program)
    assert weights_folder(ir.to_proto(program)) is None
    assert not has_external_data(ir.to_proto(program))


def test_weights_leave_a_graph_and_its_results_stay() -> None:
    model = apart(two_products())
    assert len(model.SerializeToString()) < 2000
    np.testing.assert_array_equal(result_of(model), result_of(two_products()))


def test_what_passes_make_follows() -> None:
    """float16 weights of a graph whose weights lie apart lie there too, and those of one that was read from a file."""
    half, report = half_precision_model(apart(two_products()))
    assert report.half_nodes == 3
    assert len(half.SerializeToString()) < 3000
    expected, _ = half_precision_model(two_products())
    np.testing.assert_array_equal(result_of(half), result_of(expected))


def test_weights_of_a_large_model_alone_leave_it_in_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_products()
    assert with_weights_apart(model) is model
    size = 2 * 4 * WIDTH * WIDTH
    assert weights_bytes(model) == size
    before = model.SerializeToString()
    asked = with_weights_apart(model, always=True)
    monkeypatch.setattr(weights_apart, "IN_ONE_FILE_BYTES", size - 1)
    moved = with_weights_apart(model)
    assert model.SerializeToString() == before
    for found in (asked, moved):
        assert len(found.SerializeToString()) < 2000 and weights_bytes(found) == size
        np.testing.assert_array_equal(result_of(found), result_of(model))
    assert with_weights_apart(moved) is moved


def test_weights_of_a_written_graph_move_on(tmp_path: Path) -> None:
    write_graphs(tmp_path, {"model.onnx": apart(two_products())})
    half, _ = half_precision_model(graph_of_file(tmp_path / "model.onnx"))
    assert weights_folder(half) not in (None, tmp_path)
    shutil.rmtree(tmp_path)  # nothing of it is needed any more
    expected, _ = half_precision_model(two_products())
    np.testing.assert_array_equal(result_of(half), result_of(expected))


@pytest.mark.parametrize("in_memory", [True, False])
def test_graphs_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool) -> None:
    monkeypatch.setattr(weights_apart, "IN_ONE_FILE_BYTES", 1000)
    model = two_products() if in_memory else apart(two_products())
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.graph.node[0].name = "renamed"
    write_graphs(tmp_path, {"model.onnx": model, "model.trt.onnx": other})
    one = WIDTH * WIDTH * 4
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.trt.onnx", "weights.bin"}
    assert 2 * one <= (tmp_path / "weights.bin").stat().st_size < 2 * one + 2 * 4096
    written = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert [item.key for item in written.metadata_props] == [WEIGHTS_DIGEST]  # and no folder of this machine
    assert written.metadata_props[0].value == sha256_of(tmp_path / "weights.bin")
    expected = result_of(two_products())
    for name in ("model.onnx", "model.trt.onnx"):
        np.testing.assert_array_equal(OnnxRuntimeRunner(tmp_path / name).run(IMAGE)["result"], expected)


def test_small_graphs_are_one_file_each(tmp_path: Path) -> None:
    write_graphs(tmp_path, {"model.onnx": two_products()})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == two_products().SerializeToString(deterministic=True)


def test_two_builds_write_the_same_bytes_and_other_weights_others(tmp_path: Path) -> None:
    contents = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_graphs(folder, {"model.onnx": apart(two_products(seed))})
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    assert contents[0]["model.onnx"] != contents[2]["model.onnx"]  # an engine of it is told to be outdated


def test_inner_values_of_a_written_graph_can_be_asked_for(tmp_path: Path) -> None:
    write_graphs(tmp_path, {"model.onnx": apart(two_products())})
    extra = [TensorInfo("b", "float32", (1, WIDTH))]
    found = OnnxRuntimeRunner(tmp_path / "model.onnx", extra_outputs=extra).run(IMAGE)
    assert found["b"].shape == (1, WIDTH)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    write_graphs(tmp_path, {"model.onnx": apart(two_products())})
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BuildError, match=r"weights\.bin"):
        OnnxRuntimeRunner(tmp_path / "model.onnx")


@given(st.lists(st.binary(min_size=1, max_size=9000), max_size=6))
def test_what_is_placed_lies_where_it_was_said(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("weights") / "weights.bin"
    file = weights_apart._WeightsFile(path)
    offsets = [file.place(content) for content in contents]
    digest = file.close()
    whole = path.read_bytes()
    assert digest == sha256_of(path)
    for content, offset in zip(contents, offsets, strict=True):
        assert whole[offset : offset + len(content)] == content
        assert offset % 4096 == 0
    assert len(set(offsets)) == len(set(contents))


def test_external_tensors_are_seen_by_passes() -> None:
    program = program_of(apart(two_products()))
    first = program.graph.initializers["first"].const_value
    assert isinstance(first, ir.ExternalTensor)
    assert first.size > SMALL_TENSOR_ELEMENTS
    np.testing.assert_array_equal(first.numpy(), numpy_helper.to_array(two_products().graph.initializer[0]))
