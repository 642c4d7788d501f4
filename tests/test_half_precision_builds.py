"""`--precision fp16` from end to end: what is built, predicted and verified, and that wrong decisions are caught."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from shared_builds import SharedBuilds
from shared_cases import TINY_RECIPE, CommandResult

from edgeexport.bundle import hashes_of, json_bytes, open_bundle
from edgeexport.commands.build import build
from edgeexport.commands.request import default_work_dir
from edgeexport.commands.verify import verify_bundle
from edgeexport.cost.roofline import predictions
from edgeexport.cost.work import read_work
from edgeexport.errors import ParityError
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.export_cache import FOLDER_VARIABLE
from edgeexport.graph.lint import lint_model
from edgeexport.graph.plugin_graph import PLUGIN_OPS
from edgeexport.recipe import load_recipe
from edgeexport.verify.golden_check import AGREEMENT
from edgeexport.verify.reference import HALF_CHECK

WRITTEN_ONCE = ["model.onnx", "model.trt.onnx", "tokens.json", "work.json", "golden.npz", "manifest.json"]


@pytest.fixture
def half_bundle(builds: SharedBuilds) -> Path:
    """The tiny recipe for orin in float16."""
    return builds.bundle("tiny.py", "orin", precision="fp16", text=TINY_RECIPE)


def stored_bytes(path: Path) -> int:
    """Bytes of the float32 and float16 weights in a graph."""
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16)
    tensors = [tensor for tensor in onnx.load(path).graph.initializer if tensor.data_type in kinds]
    return sum(len(tensor.raw_data) for tensor in tensors)


def test_bundle_says_what_it_is(half_bundle: Path, tiny_bundle: Path) -> None:
    manifest = open_bundle(half_bundle).manifest
    assert manifest["precision"] == "fp16"
    assert manifest["checks"]["parity"] == {"status": "passed", "comparisons": 7}
    check = manifest["checks"]["half_precision"]
    assert check["status"] == "converted"
    assert check["nodes"] > check["half_nodes"] > check["nodes"] / 2 and check["half_weights"] > 100_000
    reached = manifest["checks"]["float16_range"]
    assert reached["limit"] == 65504 and reached["observed"] > 100 and 1 < reached["largest"][0]["largest"] < 1000
    parity = json.loads((half_bundle / "parity.json").read_text())
    assert len(parity["float16_range"]["values"]) == reached["observed"]
    rounded = [item["images"] for item in parity["comparisons"] if item["check"] == HALF_CHECK and item["outputs"]]
    assert rounded == [["astronaut.jpg"]]
    assert "float16: " in (half_bundle / "build.log").read_text()
    full = open_bundle(tiny_bundle).manifest
    assert "half_precision" not in full["checks"] and full["precision"] == "fp32"
    for name in ("input", "outputs", "inner_outputs"):
        assert manifest[name] == full[name]
    assert default_work_dir(load_recipe(half_bundle.parent / "tiny.py"), "orin", "fp16").name == "tiny-orin-fp16"


def test_weights_take_half_the_space(half_bundle: Path, tiny_bundle: Path) -> None:
    for name in ("model.onnx", "model.trt.onnx"):
        assert stored_bytes(half_bundle / name) < 0.52 * stored_bytes(tiny_bundle / name)


def test_both_graphs_are_of_mixed_precision_and_pass_the_lint(half_bundle: Path) -> None:
    bare = frozenset(f"edgeexport::{name}" for name in PLUGIN_OPS)
    for name in ("model.onnx", "model.trt.onnx"):
        model = onnx.load(half_bundle / name)
        assert lint_model(model, allowed_ops=bare).ok
        known = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
        custom = [value for node in model.graph.node if node.domain for value in node.input]
        assert not [value for value in custom if known.get(value) == TensorProto.FLOAT16]
        for node in model.graph.node:
            if node.op_type in ("LayerNormalization", "Sigmoid"):
                assert known[node.output[0]] == TensorProto.FLOAT


def test_tensorrt_rtx_takes_the_graph(half_bundle: Path) -> None:
    check = open_bundle(half_bundle).manifest["checks"]["tensorrt_rtx"]
    if check["status"] == "not-run":
        pytest.skip(f"TensorRT-RTX not run here: {check['reason']}")
    assert check["status"] == "passed"


def test_predictions_count_products_in_float16(half_bundle: Path, tiny_bundle: Path) -> None:
    half, full = read_work(half_bundle), read_work(tiny_bundle)

    def macs(work: object, dtype: str) -> int:
        return sum(node.product_macs for node in work.nodes if node.dtype == dtype)  # type: ignore[attr-defined]

    assert macs(full, "float16") == 0
    assert macs(half, "float16") > 10 * macs(half, "float32") > 0
    assert macs(half, "float16") + macs(half, "float32") == macs(full, "float32")
    assert {part for part in half.parts} == {part for part in full.parts}
    moved = [sum(node.weights.get("float16", 0) for node in work.nodes) for work in (half, full)]
    assert moved[0] > 0 == moved[1]
    assert len(predictions(half, "orin")) == len(predictions(full, "orin")) > 0


def test_verify_passes_and_tells_decisions(half_bundle: Path) -> None:
    result = verify_bundle(half_bundle)
    assert result.status == "passed" and result.original_not_run == ""
    runtime = [item for item in result.comparisons if item.check == "fixed torch against exported graph"]
    assert len(runtime) == 2 and all(item.decisions and item.outputs for item in runtime)
    assert {decision.allowed for item in runtime for decision in item.decisions} == {5e-3}
    original = [item for item in result.comparisons if item.check == "original against fixed"]
    assert {decision.allowed for item in original for decision in item.decisions} == {1e-5}
    # What differs from float32 is there, and small.
    errors = [output.max_abs for item in runtime for output in item.outputs if output.name == "class_scores"]
    assert all(1e-4 < error < 1e-2 for error in errors)


def tampered(bundle: Path, folder: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy whose graph was edited, with a manifest that fits it."""
    shutil.copytree(bundle, folder)
    model = onnx.load(folder / "model.onnx")
    edit(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= hashes_of(folder, ["model.onnx"])
    (folder / "manifest.json").write_bytes(json_bytes(manifest))
    return folder


def before_partition(*added: Callable[[str], onnx.NodeProto]) -> Callable[[onnx.ModelProto], None]:
    """Puts nodes before the first pruning decision; each takes the name of its input and has one output."""

    def edit(model: onnx.ModelProto) -> None:
        nodes = list(model.graph.node)
        position = next(index for index, node in enumerate(nodes) if node.op_type == "TokenPartition")
        value, new = nodes[position].input[0], []
        for make in added:
            new.append(make(value))
            value = new[-1].output[0]
        nodes[position].input[0] = value
        del model.graph.node[:]
        model.graph.node.extend([*nodes[:position], *new, *nodes[position:]])

    return edit


def test_a_decision_that_really_differs_fails(half_bundle: Path, tmp_path: Path) -> None:
    """It prunes the least confident tokens instead of the most confident."""
    edit = before_partition(lambda value: helper.make_node("Neg", [value], ["negated"]))
    with pytest.raises(ParityError, match="decisions differ first at pruned_tokens_2") as caught:
        verify_bundle(tampered(half_bundle, tmp_path / "b", edit), engine="none")
    assert caught.value.exit_code == 4


def test_a_wrong_output_fails(half_bundle: Path, tmp_path: Path) -> None:
    """The class with the best score becomes another one where that is no toss-up."""

    def edit(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for index, value in enumerate(node.input):
                if value == "class_scores":
                    node.input[index] = "other_scores"
        reader = next(index for index, node in enumerate(model.graph.node) if "other_scores" in node.input)
        nodes = list(model.graph.node)
        del model.graph.node[:]
        negated = helper.make_node("Neg", ["class_scores"], ["other_scores"])
        model.graph.node.extend([*nodes[:reader], negated, *nodes[reader:]])

    with pytest.raises(ParityError, match="outputs differ: class_map"):
        verify_bundle(tampered(half_bundle, tmp_path / "b", edit), engine="none")


def test_another_tie_on_another_machine_is_told_with_what_agrees(half_bundle: Path, tmp_path: Path) -> None:
    """Golden outputs follow what ONNX Runtime decided; a runner that decides a tie differently cannot be compared, but seen."""
    with np.load(half_bundle / "golden.npz") as stored:
        arrays = dict(stored)
    name, score = "case0/pruned_tokens_2", arrays["case0/score/pruned_tokens_2"][0]
    chosen = arrays[name][0]
    weakest = chosen[np.argmin(np.where(np.isinf(score[chosen]), 9.0, score[chosen]))]
    left = np.setdiff1d(np.arange(score.size), chosen)
    best = left[np.argmax(np.where(np.isinf(score[left]), -9.0, score[left]))]
    arrays["case0/score/pruned_tokens_2"][0, best] = score[weakest] - 1e-3  # as if the two were nearly equal
    arrays[name] = np.sort(np.where(chosen == weakest, best, chosen))[None].astype(np.int32)
    folder = tmp_path / "b"
    shutil.copytree(half_bundle, folder)
    np.savez_compressed(folder / "golden.npz", **arrays)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= hashes_of(folder, ["golden.npz"])
    (folder / "manifest.json").write_bytes(json_bytes(manifest))
    golden = [item for item in verify_bundle(folder, engine="none").comparisons if item.check.startswith("golden")]
    assert [item.status for item in golden] == ["not-applicable", "passed"]
    assert golden[0].decisions[0].jaccard == pytest.approx(15 / 17)
    told = golden[0].facts[AGREEMENT]
    assert isinstance(told, dict) and told["class_map"]["agreement"] > 0.9
    assert told["class_scores"]["cosine"] > 0.99


ONE_BLOCK = """
model = dict(type="timm", img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, num_classes=4)
input = dict(shape=(1, 3, 32, 32), preprocess=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]))
output = "logits"
reduction = {}
"""


def test_overflow_that_a_cpu_hides_is_refused_and_kept(
    tmp_path: Path, edgeexport: Callable[..., CommandResult]
) -> None:
    """A hidden unit of the MLP exceeds 65504 while all weights and outputs are small."""
    recipe = tmp_path / "vit.py"
    recipe.write_text(ONE_BLOCK)
    state = model_from_recipe(load_recipe(recipe))[0].state_dict()
    state["blocks.0.mlp.fc1.bias"][0] = 60000.0
    state["blocks.0.mlp.fc1.weight"][0] = torch.tensor([3000.0] * 16 + [-3000.0] * 16)
    state["blocks.0.mlp.fc2.weight"][:, 0] = 0.001
    torch.save(state, tmp_path / "w.pth")
    words = ["build", recipe, "--target", "cpu", "--precision", "fp16", "--checkpoint", tmp_path / "w.pth"]
    words += ["--work-dir", tmp_path / "b"]
    refused = edgeexport(*words)
    assert refused.code == 4 and not (tmp_path / "b").exists()
    assert "error: node 'blocks.1.mlp.layers.fc1/Gemm' | reaches " in refused.err and " of 65,504, " in refused.err
    remedy = refused.err.split("in float32: ")[1].split("; ")[0]
    done = edgeexport(*words, *shlex.split(remedy))
    assert done.code == 0, done.err
    check = open_bundle(tmp_path / "b").manifest["checks"]["half_precision"]
    assert check["keep_fp32"] == ["blocks.1.mlp.layers.fc1/Gemm", "blocks.1.mlp.layers.act/Gelu"]
    shown = edgeexport("inspect", tmp_path / "b")
    assert "check float16_range" in shown.out and "reaches" in shown.out
    wrong = edgeexport("build", recipe, "--target", "cpu", "--keep-fp32", "x", "--dry-run")
    assert wrong.code == 2 and "--precision fp16" in wrong.err


def test_command(tmp_path: Path, tiny_recipe: Path, edgeexport: Callable[..., CommandResult]) -> None:
    done = edgeexport(
        "build", tiny_recipe, "--target", "cpu", "--precision", "fp16", "--work-dir", tmp_path / "b", "--json"
    )
    assert done.code == 0, done.err
    assert "not runs faster" in done.err
    assert json.loads((tmp_path / "b" / "engine.json").read_text())["precision"] == "fp16"
    again = edgeexport("verify", tmp_path / "b")
    assert again.code == 0, again.err


@pytest.mark.slow
def test_same_inputs_give_the_same_bytes(half_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "")  # exported again
    recipe = half_bundle.parent / "tiny.py"
    again = build(recipe, "orin", precision="fp16", work_dir=tmp_path / "again", plans=False).bundle.path
    for name in WRITTEN_ONCE:
        assert (again / name).read_bytes() == (half_bundle / name).read_bytes(), name


SEGMENTER = ("model.backbone.num_layers=3", "input.shape=(1, 3, 128, 128)", "model.backbone.img_size=(128, 128)")
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "segvit_ti_atm": ("orin", (*SEGMENTER, "model.backbone.out_indices=(0, 1, 2)")),
    "tome_deit_ti": ("orin", ("model.depth=3",)),
    "tome_deit_s_distilled": ("cpu", ("model.depth=3",)),
    "dsm_deit_s": ("cpu", ("model.depth=3", "reduction.dsm.delay=1")),
    "tome_segvit": ("cpu", (*SEGMENTER, "model.backbone.out_indices=(0, 1, 2)", "reduction.tome.r=20")),
    "tome_sd_block": (
        "orin",
        ("model.grid=(8, 8)", "model.embed_dims=32", "input.shape=(2, 64, 32)", "reduction.tome.r=32"),
    ),
    "scenes_cts_dtop": ("orin", ()),
    "scenes_cts_separate": ("cpu", ()),
    "scenes_tome": ("cpu", ()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_builds(name: str, tmp_path: Path) -> None:
    target, options = FAMILIES[name]
    result = build(f"{name}.py", target, precision="fp16", cfg_options=options, work_dir=tmp_path / "b")
    checks = result.bundle.manifest["checks"]
    assert checks["parity"]["status"] == "passed", [item.reason for item in result.comparisons]
    assert checks["tensorrt_rtx"]["status"] in ("passed", "not-run")
    runtime = [item for item in result.comparisons if item.check == "fixed torch against exported graph"]
    assert all(item.outputs for item in runtime)
    golden = [item for item in verify_bundle(result.bundle.path).comparisons if item.check.startswith("golden")]
    assert [item.status for item in golden] == ["passed", "passed"]
    kinds = {
        value.type.tensor_type.elem_type for value in onnx.load(result.bundle.path / "model.onnx").graph.value_info
    }
    assert {TensorProto.FLOAT, TensorProto.FLOAT16} <= kinds


@pytest.mark.slow
def test_hybrid_with_policy_network_on_a_batch(tmp_path: Path) -> None:
    recipe = tmp_path / "hybrid.py"
    recipe.write_text(
        TINY_RECIPE.replace(
            "reduction = dict(dtop=dict(prune={2: 16, 3: 8}))",
            "reduction = dict(cts=dict(num_shared=3, align_tokens=8), dtop=dict(prune={2: 16, 3: 8}))",
        ).replace("shape=(1, 3, 128, 128)", "shape=(2, 3, 128, 192)")
    )
    result = build(recipe, "orin", precision="fp16", work_dir=tmp_path / "b", plugins=False, plans=False)
    assert result.bundle.manifest["checks"]["parity"]["status"] == "passed", [
        item.reason for item in result.comparisons
    ]
    checked = {item.check for item in result.comparisons if item.status == "passed"}
    assert "batch against images one by one" in checked
