"""What is recognised of an ONNX file, whatever its nodes are called; and what is refused, with the node in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_file_cases import PATCHES, edited, exported

from edgeexport.errors import UsageError
from edgeexport.hosts.onnx_file.table import recognition
from edgeexport.hosts.onnx_file.vit import FileVit, Reading, opened_file
from edgeexport.recipe import load_recipe


def opened(path: Path, **reading: object) -> FileVit:
    return opened_file(path, str(path.stat().st_mtime_ns), Reading(**reading))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "prefix", "keeps", "tables"),
    [
        ((), 2, True, 0),
        (("rms",), 2, True, 0),
        (("mask",), 2, True, 0),
        (("rotary", "tokens"), 2, False, 6),
        (("no prefix", "tokens"), 0, False, 0),
        (("mean",), 2, False, 0),
    ],
)
def test_recognised(options: tuple[str, ...], prefix: int, keeps: bool, tables: int, tmp_path: Path) -> None:
    vit = opened(exported(tmp_path / "m.onnx", *options))
    assert (vit.prefix, vit.grid, len(vit.blocks), vit.heads) == (prefix, (4, 4), 3, 3)
    assert (vit.keeps_merged, len(vit.tables), vit.tokens) == (keeps, tables, prefix + PATCHES)


def test_taps_are_read_where_they_are(tmp_path: Path) -> None:
    assert opened(exported(tmp_path / "m.onnx", "taps")).reads == (3, 1)


def test_names_mean_nothing(tmp_path: Path) -> None:
    def anonymous(model: onnx.ModelProto) -> None:
        names: dict[str, str] = {}
        ends = {value.name for value in (*model.graph.input, *model.graph.output)}
        for number, node in enumerate(model.graph.node):
            node.name = ""
            for index, name in enumerate(node.output):
                if name not in ends:
                    names[name] = f"v{number}_{index}"
        names |= {tensor.name: f"w{number}" for number, tensor in enumerate(model.graph.initializer)}
        for node in model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for tensor in model.graph.initializer:
            tensor.name = names[tensor.name]
        del model.graph.value_info[:]

    path = exported(tmp_path / "m.onnx", "rotary")
    before = opened(path)
    after = opened(edited(path, anonymous))
    told = [[(len(b.attending), len(b.finishing), len(b.axes.sizes)) for b in vit.blocks] for vit in (before, after)]
    assert told[0] == told[1] and after.prefix == before.prefix


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("post-norm",), "post-norm"),
        (("parallel",), "beside the residual stream"),
        (("relative",), "every pair of tokens"),
        (("windows", "no prefix"), "windows, or a hierarchy"),
        (("mixer",), "exchange something outside of attention"),
        (("prefix behind",), "behind the patches"),
    ],
)
def test_refused(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    path = exported(tmp_path / "m.onnx", *options)
    with pytest.raises(UsageError, match=said) as caught:
        opened(path)
    assert caught.value.remedy and caught.value.exit_code == 2
    assert recognition(path)["refused"]["problem"] == caught.value.problem


def _quantised(model: onnx.ModelProto) -> None:
    node = model.graph.node[0]
    scale, zero = (
        numpy_helper.from_array(np.array(value), name) for value, name in ((np.float32(1), "s"), (np.uint8(0), "z"))
    )
    model.graph.initializer.extend([scale, zero])
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"], "dq"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.uint8), "q"))
    assert node


def _without_weights(model: onnx.ModelProto) -> None:
    del model.graph.initializer[:]


def _no_attention(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.op_type = "Sigmoid"
            del node.attribute[:]


def _attention_is_given_out(model: onnx.ModelProto) -> None:
    name = next(node.output[0] for node in model.graph.node if node.op_type == "Softmax")
    model.graph.output.append(helper.make_tensor_value_info(name, 1, None))


def _foreign(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Erf")
    node.domain, node.name = "com.vendor", "their node"
    model.opset_import.append(helper.make_opsetid("com.vendor", 1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_quantised, "quantised"),
        (_without_weights, "nothing makes and no weight is called|has .* inputs"),
        (_no_attention, "no softmax at all"),
        (_attention_is_given_out, "inside a block is read outside"),
        (_foreign, "domain com.vendor"),
    ],
)
def test_damaged_or_foreign(change: Callable[[onnx.ModelProto], None], said: str, tmp_path: Path) -> None:
    path = edited(exported(tmp_path / "m.onnx"), change)
    with pytest.raises(UsageError, match=said) as caught:
        opened(path)
    assert caught.value.exit_code == 2 and caught.value.remedy


def test_external_data_that_is_missing(tmp_path: Path) -> None:
    path = exported(tmp_path / "m.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    opened(path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(UsageError, match=r"'w\.bin' is missing"):
        load_recipe(path)


def test_an_unmerge_place_that_does_not_exist_and_one_that_does(tmp_path: Path) -> None:
    path = exported(tmp_path / "m.onnx", "tokens")
    end = opened(path).blocks[-1].end
    norm = next(node for node in onnx.load(path).graph.node if end in node.input).output[0]
    with pytest.raises(UsageError, match="no such value"):
        opened(path, unmerge_before="nothing")
    assert opened(path, unmerge_before=norm).blocks[-1].end == norm


def test_a_prefix_that_does_not_fit_the_grid(tmp_path: Path) -> None:
    path = exported(tmp_path / "m.onnx")
    assert opened(path, prefix=2).prefix == 2
    with pytest.raises(UsageError, match="3 of them ahead"):
        opened(path, prefix=3)


def test_a_recipe_of_a_path(tmp_path: Path) -> None:
    recipe = load_recipe(exported(tmp_path / "some.model.onnx", dynamic=True), ["input.shape=(2,3,32,32)"])
    assert (recipe.name, recipe.input.batch, recipe.output, recipe.from_file) == ("some_model", 2, "out", False)
    with pytest.raises(UsageError, match="batch of 1"):
        fixed = exported(tmp_path / "fixed.onnx")
        try:
            load_recipe(fixed, ["input.shape=(2,3,32,32)"])
        except Exception as error:
            raise UsageError("recipe", str(error)) from error
