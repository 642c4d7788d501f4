"""A language model's bundle from build to answer: files, manifest, verify, inspect, lint, run, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shared_cases import CommandResult

RECIPE = '''"""A Qwen2.5-VL of a few thousand weights, for tests."""

model = dict(
    type="decoder",
    config=dict(
        model_type="qwen2_5_vl",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=272,
        rope_scaling=dict(type="mrope", mrope_section=[1, 1, 2]),
        image_token_id=260,
        eos_token_id=261,
        vision_config=dict(
            hidden_size=16, intermediate_size=24, depth=1, num_heads=2, window_size=56, fullatt_block_indexes=[0],
            out_hidden_size=32,
        ),
    ),
)
input = dict(prompt=40, new_tokens=14, images=[(56, 56)])
reduction = dict(flowmm=dict(budget=0.25, flow=[True, False], protect=2, proxies=8))
'''

Run = Callable[..., CommandResult]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edgeexport.commands.build import build

    folder = tmp_path_factory.mktemp("flowmm")
    (folder / "small.py").write_text(RECIPE)
    return build(folder / "small.py", "cpu", work_dir=folder / "bundle").bundle.path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)).save(path)
    return path


def test_flowmm_bundle_lists_four_graphs_and_their_checks(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert [graph["name"] for graph in manifest["graphs"]] == ["vision", "embedding", "prefill", "decode"]
    assert manifest["prompt"]["slots"] == 10
    by_name = {graph["name"]: graph for graph in manifest["graphs"]}
    assert [item["name"] for item in by_name["decode"]["inputs"]][:4] == [
        "inputs_embeds", "attention_mask", "position_ids", "past_key_values.0.key",
    ]  # fmt: skip
    assert by_name["decode"]["inputs"][3]["shape"] == [1, 2, 24, 8]
    assert manifest["checks"]["parity"]["status"] in ("passed", "incomplete")  # incomplete: without transformers
    parity = json.loads((bundle / "parity.json").read_text())["comparisons"]
    assert {item["status"] for item in parity if item["check"] != "original"} == {"passed"}
    assert len({item["images"][0] for item in parity}) == 2


def test_flowmm_bundle_verifies_and_a_changed_golden_value_does_not(
    bundle: Path, tmp_path: Path, edgeexport: Run
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    assert edgeexport("verify", str(copy)).code == 0
    assert json.loads((copy / "verify.json").read_text())["comparisons"][0]["status"] == "passed"
    with np.load(copy / "golden.npz") as stored:
        arrays: dict[str, Any] = dict(stored)
    arrays["case0/logits"] = arrays["case0/logits"] + np.float32(0.1)
    np.savez_compressed(copy / "golden.npz", **arrays)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"]["golden.npz"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert edgeexport("verify", str(copy)).code == 4


def test_flowmm_bundle_answers_about_a_photograph(bundle: Path, photo: Path, tmp_path: Path, edgeexport: Run) -> None:
    asked = ("run", str(bundle), str(photo), "--prompt", "what?", "--out-dir", str(tmp_path / "out"), "--json")
    answer = json.loads(edgeexport(*asked, "--max-new-tokens", "5").out)
    assert 1 <= len(answer["tokens"]) <= 5 and answer["slots"] == 10
    assert "means nothing" in answer["notice"]
    with Image.open(answer["pictures"][0]) as drawn:
        assert drawn.width > 200
    assert answer["prompt_tokens"] == 4 + len("what?")
    again = json.loads(edgeexport(*asked, "--max-new-tokens", "5").out)
    assert again["tokens"] == answer["tokens"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("{photo}",), "--prompt"),
        (("{photo}", "{photo}", "--prompt", "x"), "room for 1 image"),
        (("{photo}", "--prompt", "x" * 41), "more than the 40 places"),
        (("{photo}", "--prompt", "x", "--max-new-tokens", "15"), "1 to 14 new tokens"),
    ],
)
def test_flowmm_run_refuses(bundle: Path, photo: Path, edgeexport: Run, arguments: tuple[str, ...], told: str) -> None:
    result = edgeexport("run", str(bundle), *(item.replace("{photo}", str(photo)) for item in arguments))
    assert result.code == 2 and told in result.err


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("reduction.flowmm.budget=0", "at least 1 slot"),
        ("reduction.flowmm.budget=41", "more than the 40 places"),
        ("reduction.flowmm.budget=1.5", "at most 1.0"),
        ("reduction.flowmm.keep_recent=11", "more than the 10 slots"),
        ("reduction.flowmm.theta=0.3", "beside theta"),
        ("reduction.flowmm.flow=[True]", "2 values"),
        ("model.config.model_type='gpt2'", "gpt2"),
        ("model.config.num_key_value_heads=3", "does not divide"),
        ("input.images=[(50,50)]", "multiples of 28"),
        ("input.prompt=4", "the images alone"),
        ("model={'_delete_':True,'type':'decoder','folder':'nowhere'}", "nowhere"),
    ],
)
def test_flowmm_recipes_refuse(tmp_path: Path, edgeexport: Run, option: str, told: str) -> None:
    (tmp_path / "small.py").write_text(RECIPE)
    asked = ("build", str(tmp_path / "small.py"), "--target", "cpu", "--work-dir", str(tmp_path / "b"))
    result = edgeexport(*asked, "--cfg-options", option)
    assert result.code == 2 and told in result.err
    assert not (tmp_path / "b").exists()


def test_flowmm_adaptive_constants_are_refused_with_what_is_missing(tmp_path: Path, edgeexport: Run) -> None:
    text = RECIPE.replace("flow=[True, False], protect=2", "theta=0.3, tau=0.5")
    (tmp_path / "small.py").write_text(text)
    result = edgeexport("build", str(tmp_path / "small.py"), "--target", "cpu", "--work-dir", str(tmp_path / "b"))
    assert result.code == 2 and "flow and protect" in result.err


def test_a_folder_without_weights_is_named(tmp_path: Path, edgeexport: Run) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text("{}")
    (tmp_path / "x.py").write_text("model = dict(type='decoder', folder='hf')\ninput = dict(prompt=8)\n")
    result = edgeexport("build", str(tmp_path / "x.py"), "--target", "cpu")
    assert result.code == 2 and "has no weights" in result.err


def test_a_cache_of_another_budget_is_refused(bundle: Path) -> None:
    from edgeexport.backends.engine import runners_of_graphs
    from edgeexport.backends.prompt_runner import PromptRunner
    from edgeexport.bundle import open_bundle
    from edgeexport.errors import UsageError

    opened = open_bundle(bundle)
    assert opened.prompt is not None
    runner = PromptRunner(runners_of_graphs(opened, "none", threads=1), opened.prompt)
    names = [f"present.{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    with pytest.raises(UsageError, match="another budget"):
        runner.adopt({name: np.zeros((1, 2, 30, 8), np.float32) for name in names}, 5, 5)


def test_other_commands_say_that_they_do_not_take_it(tmp_path: Path, bundle: Path, edgeexport: Run) -> None:
    result = edgeexport("debug", str(bundle))
    assert result.code == 2 and "several graphs" in result.err
    (tmp_path / "small.py").write_text(RECIPE)
    recipe = str(tmp_path / "small.py")
    for words, told in (
        (("build", recipe, "--target", "cpu", "--dry-run"), "token schedule"),
        (("build", recipe, "--target", "cpu", "--keep-fp32", "x"), "--keep-fp32"),
        (("build", recipe, "--target", "cpu", "--precision", "fp16"), "expected fp32"),
        (("calibrate", recipe, "--data", str(tmp_path), "--delay"), "a language model"),
    ):
        result = edgeexport(*words)
        assert result.code == 2 and told in result.err, words


def test_every_graph_has_work_and_the_engines_answer_alike(
    bundle: Path, photo: Path, tmp_path: Path, edgeexport: Run
) -> None:
    from edgeexport.cost.work import read_work

    manifest = json.loads((bundle / "manifest.json").read_text())
    parts = {}
    for graph in manifest["graphs"]:
        work = read_work(bundle, graph["name"])
        assert work is not None
        assert graph["macs"] == sum(node.product_macs for node in work.nodes)
        assert graph["bytes"] == sum(node.bytes for node in work.nodes)
        parts[graph["name"]] = set(work.parts)
    assert {"block_0", "block_1", "merge_0", "merge_1", "final_norm", "head"} <= parts["prefill"]
    assert {"block_0", "block_1", "head"} <= parts["decode"] and "merge_0" not in parts["decode"]
    engine = json.loads((bundle / "engine.json").read_text())
    assert engine["graph"] == "decode.onnx" and set(engine["graphs"]) == {"vision", "embedding", "prefill"}
    asked = ("run", str(bundle), str(photo), "--prompt", "what?", "--max-new-tokens", "4", "--json")
    own, plain = (
        json.loads(edgeexport(*asked, "--engine", engine, "--out-dir", str(tmp_path / engine)).out)
        for engine in ("auto", "none")
    )
    assert own["tokens"] == plain["tokens"] and own["runner"] != plain["runner"]
