"""The command line: exit codes, messages, and --json that prints JSON and nothing else."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import parser
from PIL import Image
from shared_cases import CommandResult

from edgeexport.backends.tensorrt_rtx import RtxCheck
from edgeexport.bundle import sha256_of
from edgeexport.version import __version__

Command = Callable[..., CommandResult]


def test_recipes_lists_every_shipped_recipe(edgeexport: Command) -> None:
    result = edgeexport("recipes", "--json")
    listed = {item["name"]: item["description"] for item in json.loads(result.out)["recipes"]}
    assert result.code == 0
    assert len(listed) >= 14
    assert all(listed.values())
    assert "segvit_cts_dtop.py" in edgeexport("recipes").out


def test_version_and_help_as_everywhere(edgeexport: Command) -> None:
    assert edgeexport("--version").out == f"{__version__}\n"
    for words in ((), ("lint",), ("plugin", "build")):
        short, long = edgeexport(*words, "-h"), edgeexport(*words, "--help")
        assert short.code == 0 and short.out == long.out and "Usage:" in short.out


def test_an_error_in_json(edgeexport: Command, tmp_path: Path) -> None:
    found = edgeexport("inspect", tmp_path / "b", "--json")
    error = json.loads(found.out)["error"]
    assert found.code == error["exit_code"] == 9 and error["kind"] == "BundleError"
    assert found.err.strip() == f"error: {error['where']} | {error['problem']} | {error['remedy']}"


def test_precision_in_capitals(edgeexport: Command, tmp_path: Path) -> None:
    found = edgeexport("build", "segvit_cts_dtop.py", "--target", "orin", "--dry-run", "--json", "--precision", "FP16")
    assert json.loads(found.out)["would_write"] == "work_dirs/segvit_cts_dtop-orin-fp16"


def test_doctor_in_json(edgeexport: Command) -> None:
    result = edgeexport("doctor", "--target", "orin", "--json")
    assert result.code == 0
    assert json.loads(result.out)


def test_dry_run_from_any_folder(edgeexport: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = edgeexport("build", "segvit_cts_dtop.py", "--target", "orin", "--dry-run", "--json")
    assert result.code == 0
    document = json.loads(result.out)
    assert document["would_write"] == "work_dirs/segvit_cts_dtop-orin-fp32"
    assert document["tokens"]["blocks"][0]["tokens_in"] == 712
    assert "runs its code" not in result.err  # it is ours
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(edgeexport: Command, tmp_path: Path) -> None:
    """The bundle's path is wrong: the message says so, and not that --target is missing."""
    found = edgeexport("build", tmp_path / "bundle")
    assert found.code == 2
    assert "bundle | is no folder here, and a recipe needs --target | check the path of the bundle" in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "orion"), "did you mean 'orin'?"),
        (("--target", "orin", "--precision", "int8"), "--precision int8 | unknown precision, expected fp32 or fp16"),
        (("--target", "orin", "--host", "orin"), "--host orin | is no ssh address"),
        (("--target", "orin", "--cfg-options", "reduction.dtop.prune={2: 64}"), "reduction.dtop.prune[2] = 64"),
        (("--target", "orin", "--cfg-options", "reduction.dtop.prune={2: -1}"), "reduction.dtop.prune[2] = -1"),
        (("--target", "orin", "--cfg-options", "reduction.dtop.prun={2: 1}"), "did you mean 'prune'?"),
        (("--target", "orin", "--cfg-options", "reduction.cts.num_shared=17"), "num_shared"),
        (("--target", "orin", "--cfg-options", "reduction.cts.num_shared=-1"), "num_shared"),
        (("--target", "orin", "--cfg-options", "model.backbone.with_cls_token=True"), "class token"),
        (("--target", "orin", "--cfg-options", "input.shape=(1, 3, 100, 128)"), "16"),
        (("--target", "orin", "--checkpoint", "nowhere.pth"), "nowhere.pth"),
        ((), "--target | is missing"),
        (("--target", "cpu", "--workspace", "512"), "workspace_mib = 512"),
        (("--target", "orin", "--useCudaGraph"), "cuda_graph = True | is the engine's, and none is built here"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_built(
    edgeexport: Command, tiny_recipe: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = edgeexport("build", tiny_recipe, "--work-dir", tmp_path / "b", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "b").exists()


def test_dry_run_looks_at_the_work_dir_too(edgeexport: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    arguments = ("build", tiny_recipe, "--target", "cpu", "--dry-run", "--json", "--work-dir")
    result = edgeexport(*arguments, tmp_path / "b")
    assert f"note: {tiny_recipe} is Python: reading it runs its code" in result.err
    document = json.loads(result.out)
    assert document["would_write"] == str(tmp_path / "b")
    assert document["weights"] == "not read"
    result = edgeexport(*arguments, tmp_path)  # holds the recipe
    assert result.code == 2
    assert "left alone" in result.err


def test_unknown_recipe_names_the_nearest(edgeexport: Command) -> None:
    result = edgeexport("build", "segvit_cts_dtpo.py", "--target", "orin")
    assert result.code == 2
    assert "segvit_cts_dtop.py" in result.err


class Malicious:
    """Touches a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.marker,))


def test_pickle_that_would_execute_code(edgeexport: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    marker, checkpoint = tmp_path / "executed", tmp_path / "bad.pth"
    torch.save({"state_dict": Malicious(marker)}, checkpoint)
    result = edgeexport("build", tiny_recipe, "--target", "cpu", "--checkpoint", checkpoint)
    assert result.code == 2
    assert "would execute code" in result.err
    assert not marker.exists()
    with checkpoint.open("wb") as stream:
        pickle.dump(Malicious(marker), stream)
    result = edgeexport("build", tiny_recipe, "--target", "cpu", "--checkpoint", checkpoint)
    assert result.code == 2
    assert not marker.exists()


def test_checkpoint_of_another_model(edgeexport: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "other.pth"
    torch.save({"blocks.0.attn.qkv.weight": torch.zeros(3)}, checkpoint)
    result = edgeexport("build", tiny_recipe, "--target", "cpu", "--checkpoint", checkpoint)
    assert result.code == 2
    assert "missing: backbone.pos_embed" in result.err
    assert "1 unexpected: blocks.0.attn.qkv.weight" in result.err
    assert "likely cause: a timm checkpoint" in result.err


def test_run_writes_pictures_and_names_what_it_could_not_read(
    edgeexport: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    from edgeexport.inputs.photos import shipped_photos

    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    result = edgeexport("run", tiny_bundle, shipped_photos()[2], broken, "--out-dir", tmp_path / "out")
    assert result.code == 2
    assert "broken.jpg" in result.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"coffee_labels.png", "coffee_overlay.png"}
    result = edgeexport("run", tiny_bundle, shipped_photos()[2], "--out-dir", tmp_path / "out", "--json")
    assert result.code == 0
    assert json.loads(result.out)["notice"] == "random weights, seed 0: predictions mean nothing"


def test_inspect_a_bundle_and_a_model(edgeexport: Command, tiny_bundle: Path) -> None:
    result = edgeexport("inspect", tiny_bundle, "--json")
    assert result.code == 0
    assert json.loads(result.out)["tokens"]["blocks"][2]["tokens_in"] == 48
    shown = edgeexport("inspect", tiny_bundle).out
    assert "pruned 16" in shown
    assert "random weights, seed 0" in shown
    model = json.loads(edgeexport("inspect", tiny_bundle / "model.onnx", "--json").out)
    assert model["static"] is True
    assert model["macs"]["product"] > 0


def test_damaged_bundle_is_refused(edgeexport: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    with (bundle / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    for command in (("verify", bundle), ("inspect", bundle), ("run", bundle, "x.jpg")):
        result = edgeexport(*command)
        assert result.code == 9
        assert "was changed after the build" in result.err
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "schema": "edgeexport.bundle/2"}))
    result = edgeexport("verify", bundle)
    assert result.code == 9
    assert "edgeexport.bundle/2" in result.err
    assert edgeexport("verify", tmp_path / "nothing").code == 9


def test_lint_of_a_users_model(edgeexport: Command, tmp_path: Path) -> None:
    path = tmp_path / "user.onnx"
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 20]>
        g (float[8] x) => (int64[1, n] y) { y = NonZero (x) }""")
    onnx.save(model, path)
    result = edgeexport("lint", path)
    assert result.code == 3
    assert "NonZero" in result.out
    path.write_bytes(b"not a model")
    assert edgeexport("lint", path).code == 2


def test_lint_of_a_recipe(edgeexport: Command, tiny_recipe: Path) -> None:
    result = edgeexport("lint", tiny_recipe, "--json")
    assert result.code == 0
    assert json.loads(result.out)["ok"] is True


def test_lint_of_a_bundle(edgeexport: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    """Both of its graphs; the plugins' nodes of one are known, and held to what the plugins take."""
    result = edgeexport("lint", tiny_bundle, "--json")
    assert result.code == 0, result.out + result.err
    document = json.loads(result.out)
    assert (document["model"], document["findings"]) == (str(tiny_bundle), [])
    alone = edgeexport("lint", tiny_bundle / "model.trt.onnx")
    assert alone.code == 3 and "unknown-domain" in alone.out
    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    model = onnx.load(bundle / "model.trt.onnx")
    node = next(node for node in model.graph.node if node.domain == "edgeexport")
    node.attribute.append(onnx.helper.make_attribute("strange", 1))
    onnx.save(model, bundle / "model.trt.onnx")
    assert edgeexport("lint", bundle).code == 9  # another file than the manifest's
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["model.trt.onnx"] = sha256_of(bundle / "model.trt.onnx")
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    result = edgeexport("lint", bundle)
    assert result.code == 3 and "strange" in result.err


@pytest.mark.parametrize(("status", "code"), [("passed", 0), ("failed", 3), ("not-run", 0)])
def test_lint_shows_the_answer_of_tensorrt_rtx_as_well(
    edgeexport: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    path = tmp_path / "user.onnx"
    onnx.save(
        parser.parse_model('<ir_version: 9, opset_import: ["": 20]> g (float[8] x) => (float[8] y) { y = Relu (x) }'),
        path,
    )
    asked = []

    def check(file: Path) -> RtxCheck:
        asked.append(file)
        return RtxCheck(status, "1.7", "because of [this]")

    monkeypatch.setattr("edgeexport.commands.lint.check_tensorrt_rtx", check)
    result = edgeexport("lint", path, "--tensorrt")
    assert result.code == code and asked == [path]
    assert "static: 1 nodes" in result.out and f"TensorRT-RTX 1.7: {status} because of [this]" in result.out
    assert json.loads(edgeexport("lint", path, "--tensorrt", "--json").out)["tensorrt"]["status"] == status


def test_lint_asks_tensorrt_rtx_about_a_bundle_without_its_plugins(
    edgeexport: Command, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = []

    def check(file: Path) -> RtxCheck:
        domains.append({node.domain for node in onnx.load(file).graph.node})
        return RtxCheck("passed")

    monkeypatch.setattr("edgeexport.commands.lint.check_tensorrt_rtx", check)
    assert edgeexport("lint", tiny_bundle, "--tensorrt").code == 0
    assert domains == [{""}]


def test_verify_through_the_command_line(edgeexport: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    seeded = edgeexport("verify", bundle, "--checkpoint", bundle / "model.onnx")
    assert seeded.code == 2
    assert "the bundle has random weights, seed 0" in seeded.err
    result = edgeexport("verify", bundle, "--json")
    assert result.code == 0
    document = json.loads(result.out)
    assert document["status"] == "passed"
    assert {item["check"] for item in document["comparisons"]} == {
        "golden outputs against this machine",
        "fixed torch against exported graph",
        "original against fixed",
    }


def test_engine_of_a_bundle(edgeexport: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle, photo = tmp_path / "b", tiny_bundle.parent / "photo.png"
    shutil.copytree(tiny_bundle, bundle)
    Image.new("RGB", (64, 64), (200, 30, 40)).save(photo)
    assert "engine none" in " ".join(edgeexport("inspect", bundle).out.split())
    elsewhere = edgeexport("build", bundle)
    assert elsewhere.code == 9 and "give --target cpu" in elsewhere.err
    built = edgeexport("build", bundle, "--target", "cpu", "--threads", "1", "--json")
    assert built.code == 0, built.err
    document = json.loads(built.out)["engine"]
    assert (document["backend"], document["target"], document["options"]["threads"]) == ("onnxruntime", "cpu", 1)
    assert "engine.onnx: onnxruntime" in edgeexport("inspect", bundle).out
    verified = json.loads(edgeexport("verify", bundle, "--json").out)
    assert verified["status"] == "passed" and verified["runner"].startswith("onnxruntime engine ")
    assert json.loads(edgeexport("verify", bundle, "--engine", "none", "--json").out)["runner"] == (
        verified["runner"].replace(" engine", "")
    )
    run = ("run", bundle, photo, "--out-dir", tmp_path / "out", "--json")
    assert json.loads(edgeexport(*run).out)["runner"] == verified["runner"]
    with (bundle / "engine.onnx").open("ab") as stream:
        stream.write(b"\0")
    for command in (("verify", bundle), run):
        refused = edgeexport(*command)
        assert refused.code == 9 and "engine.onnx | was changed after the build" in refused.err
    assert edgeexport(*run, "--engine", "none").code == 0
    assert "did you mean 'none'?" in edgeexport(*run, "--engine", "nonee").err
    again = edgeexport("build", bundle, "--target", "cpu")
    assert again.code == 0 and f"edgeexport verify {bundle}" in " ".join(again.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cfg-options", "a=1", "--dry-run"), "--cfg-options, --dry-run | "),
        (("--work-dir", "x"), "--work-dir | "),
        (("--precision", "fp16"), "--precision fp16 | the bundle's graphs are fp32"),
        (("--workspace", "512"), "workspace_mib = 512 | "),
        (("--useCudaGraph",), "cuda_graph = True | "),
        (("--useDLACore", "0"), "dla_core = 0 | "),
    ],
)
def test_bad_requests_for_an_engine(
    edgeexport: Command, tiny_bundle: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = edgeexport("build", tiny_bundle, "--target", "cpu", *arguments)
    assert result.code == 2
    assert message in result.err and "Traceback" not in result.err
    assert not (tiny_bundle / "engine.json").exists()


def test_bundle_of_a_checkpoint_is_verified_with_it(edgeexport: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.recipe import load_recipe

    model, _ = model_from_recipe(load_recipe(tiny_recipe))
    checkpoint = tmp_path / "weights.pth"
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    bundle = tmp_path / "b"
    built = edgeexport("build", tiny_recipe, "--target", "cpu", "--checkpoint", checkpoint, "--work-dir", bundle)
    assert built.code == 0, built.err
    assert "weights from weights.pth" in built.out
    assert "engine.onnx: onnxruntime" in built.out and "Engine" in (bundle / "report.html").read_text()
    without = json.loads(edgeexport("verify", bundle, "--json").out)
    assert without["runner"].startswith("onnxruntime engine ")
    assert "--checkpoint" in without["original_not_run"]
    with_it = json.loads(edgeexport("verify", bundle, "--checkpoint", checkpoint, "--json").out)
    assert with_it["original_not_run"] == ""
    policy = edgeexport("verify", bundle, "--checkpoint", checkpoint, "--policy-checkpoint", checkpoint)
    assert policy.code == 2
    assert "leave --policy-checkpoint out" in policy.err
    torch.save({"state_dict": {}, "x": torch.zeros(1)}, checkpoint)
    result = edgeexport("verify", bundle, "--checkpoint", checkpoint)
    assert result.code == 2
    assert "the bundle was built from" in result.err
