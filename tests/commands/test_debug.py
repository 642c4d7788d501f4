"""`edgeexport debug` finds seeded faults and names the part and node where they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from shared_builds import SharedBuilds
from shared_cases import CommandResult

from edgeexport.bundle import hashes_of, json_bytes
from edgeexport.commands import debug

RECIPE = """
model = dict(type="timm", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=4)
input = dict(shape=(1, 3, 32, 32), preprocess=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]))
output = "logits"
reduction = dict(tome=dict(r=3))
"""


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(item for item in model.graph.node if item.name == name)


def index_off_by_one(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(1), "second"))
    node(model, "classifier/Gather").input[1] = "second"


def reversed_choice(model: onnx.ModelProto) -> None:
    """The last candidates instead of the first."""
    match = node(model, "tome.1.match/TokenMatch")
    at = list(model.graph.node).index(match)
    for text, number in (("start", -1), ("end", -(2**62)), ("step", -1), ("axis", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([number]), text))
    source = match.output[1]
    match.output[1] = f"{source}/straight"
    model.graph.node.insert(
        at + 1, helper.make_node("Slice", [f"{source}/straight", "start", "end", "axis", "step"], [source])
    )


def dropped_bias(model: onnx.ModelProto) -> None:
    """The sizes that ToMe adds to the logits of block 2."""
    bias = node(model, "blocks.2.attn/Add")
    bias.op_type = "Identity"
    del bias.input[1:]


def overflow(model: onnx.ModelProto) -> None:
    act = node(model, "blocks.1.mlp.layers.act/Gelu")
    at = list(model.graph.node).index(act)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(3e38), "huge"))
    made = node(model, "blocks.1.mlp.layers.fc1/Gemm")
    value, made.output[0] = made.output[0], f"{made.output[0]}/before"
    model.graph.node.insert(at, helper.make_node("Mul", [made.output[0], "huge"], [f"{value}/half"]))
    model.graph.node.insert(at + 1, helper.make_node("Mul", [f"{value}/half", "huge"], [value]))


def swapped_channels(model: onnx.ModelProto) -> None:
    name = node(model, "embedding.patch_embed.proj/Conv").input[1]
    tensor = next(item for item in model.graph.initializer if item.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, ::-1].copy(), name))


FAULTS: dict[str, tuple[Callable[[onnx.ModelProto], None], str, str, bool]] = {
    "an index off by one": (index_off_by_one, "head", "classifier/Gather", False),
    "a reversed choice": (reversed_choice, "merging in block 1", "tome.1.match/TokenMatch", True),
    "a dropped bias": (dropped_bias, "block 2", "blocks.2.attn/Add", False),
    "an overflow": (overflow, "block 1", "blocks.1.mlp.layers.fc1/Gemm", False),
    "swapped channels": (swapped_channels, "embedding", "embedding.patch_embed.proj/Conv", False),
}


def edited(bundle: Path, folder: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of ``bundle`` whose model.onnx was changed, as if it had been built so."""
    shutil.copytree(bundle, folder)
    model = onnx.load(folder / "model.onnx")
    edit(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= hashes_of(folder, ["model.onnx"])
    (folder / "manifest.json").write_bytes(json_bytes(manifest))
    return folder


@pytest.fixture
def bundle(builds: SharedBuilds) -> Path:
    return builds.bundle("walked.py", "cpu", text=RECIPE)


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_seeded_fault_is_located(
    fault: str, bundle: Path, tmp_path: Path, edgeexport: Callable[..., CommandResult]
) -> None:
    edit, part, where, flips = FAULTS[fault]
    folder = edited(bundle, tmp_path / "b", edit)
    done = edgeexport("debug", folder, "--json")
    assert done.code == 4, done.err
    walk = json.loads(done.out)
    assert (walk["drift"]["part"], walk["drift"]["node"]) == (part, where)
    assert not flips or walk["flip"]["stage"] == "merges_1"
    before = [item for item in walk["parts"] if item["part"] != part]
    assert fault == "swapped channels" or not before[0]["first_drift"]  # the embedding is not blamed


def test_a_sound_bundle_has_nothing_to_say(bundle: Path, edgeexport: Callable[..., CommandResult]) -> None:
    half, torch = ("--precision", "fp16"), ("--against", "original")
    for more in ((), half, torch, (*half, *torch)):
        done = edgeexport("debug", bundle, *more)
        assert done.code == 0, done.out + done.err
        assert "no value drifts" in done.out and "every decision is the original's" in done.out


def test_the_first_module_that_leaves_torch_is_named(
    bundle: Path, tmp_path: Path, edgeexport: Callable[..., CommandResult]
) -> None:
    done = edgeexport("debug", edited(bundle, tmp_path / "b", dropped_bias), "--against", "original")
    assert done.code == 4, done.err
    text = " ".join(done.out.split())
    assert "first drift: block 2, module blocks.2.attn.proj:" in text
    assert "blocks.2.attn, just ahead of it, agrees" in text  # its keys, by which tokens merge


def test_a_fault_of_the_exporter_is_seen_by_torch_alone(
    bundle: Path, tmp_path: Path, edgeexport: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle and the fresh export have the same wrong weight."""

    def wrong_weight(model: onnx.ModelProto) -> None:
        name = node(model, "blocks.2.mlp.layers.fc1/Gemm").input[1]
        tensor = next(item for item in model.graph.initializer if item.name == name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), name))

    sound = debug.exported_graphs

    def faulty(*given: Any) -> Any:
        graphs = sound(*given)
        wrong_weight(graphs.with_functions)
        return graphs

    monkeypatch.setattr(debug, "exported_graphs", faulty)
    folder = edited(bundle, tmp_path / "b", wrong_weight)
    assert edgeexport("debug", folder, "--json").code == 0
    done = edgeexport("debug", folder, "--against", "original", "--json")
    assert done.code == 4, done.err
    drift = json.loads(done.out)["drift"]
    assert (drift["part"], drift["node"]) == ("block 2", "blocks.2.mlp.layers.fc1")


def test_what_a_reduction_costs_is_a_report(bundle: Path, edgeexport: Callable[..., CommandResult]) -> None:
    done = edgeexport("debug", bundle, "--against", "dense")
    assert done.code == 0, done.err
    assert "cosine falls most: block" in done.out and "equal labels:" in done.out
    done = edgeexport("debug", bundle, "--against", "dense", "--json")
    walk = json.loads(done.out)
    assert [part["part"] for part in walk["parts"]] == ["embedding", "block 1", "block 2", "output 'logits'"]
    assert walk["parts"][0]["error"] == 0 and walk["fall"]["before"] > walk["fall"]["after"]
    assert walk["drift"] is None and 0 <= walk["agreement"] <= 1


@pytest.mark.parametrize("options", [("--against", "torch"), ("--against", "dense", "--precision", "fp16")])
def test_a_reference_that_there_is_not_is_refused(
    options: tuple[str, ...], bundle: Path, edgeexport: Callable[..., CommandResult]
) -> None:
    done = edgeexport("debug", bundle, *options)
    assert done.code == 2 and " ".join(options[-2:]) in done.err
