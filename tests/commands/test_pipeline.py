"""Builds from end to end on a tiny recipe: what is in the bundle, and what an unlucky build leaves behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from shared_builds import SharedBuilds
from shared_cases import ONE_BLOCK, SHALLOW_HEADS, TINY_RECIPE

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.backends.tensorrt_rtx import RtxCheck
from edgeexport.bundle import open_bundle
from edgeexport.commands.build import build, bundle_export
from edgeexport.commands.checks import tail_check
from edgeexport.commands.verify import verify_bundle
from edgeexport.cost.kernel_plan import read_plans
from edgeexport.errors import BuildError, ParityError, RecipeError, UsageError
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.graph.export_cache import FOLDER_VARIABLE
from edgeexport.graph.lint import lint_model
from edgeexport.hosts.host import ClassMapTail
from edgeexport.plugin.build_record import facts_from_library
from edgeexport.recipe import load_recipe

WRITTEN_ONCE = [
    "model.onnx",
    "model.trt.onnx",
    "tokens.json",
    "work.json",
    "golden.npz",
    "manifest.json",
]


@pytest.fixture
def export(tiny_recipe: Path) -> onnx.ModelProto:
    """Torch's export of the tiny recipe, for builds that fail after it."""
    recipe = load_recipe(tiny_recipe)
    model, origin = model_from_recipe(recipe)
    return bundle_export(fixed_from_model(model, recipe), origin).model


def test_bundle_holds_what_the_design_names(tiny_bundle: Path) -> None:
    found = {path.name for path in tiny_bundle.iterdir()}
    assert found == {*WRITTEN_ONCE, "parity.json", "report.html", "build.log", "plugins"}
    manifest = open_bundle(tiny_bundle).manifest
    assert manifest["weights"]["statement"] == "random weights, seed 0: predictions mean nothing"
    assert manifest["checks"]["parity"] == {"status": "passed", "comparisons": 6}
    assert manifest["outputs"] == [{"name": "class_map", "dtype": "int32", "shape": [1, 128, 128]}]
    sources = {name for name in manifest["files"] if name.startswith("plugins/")}
    assert set(manifest["files"]) - sources == set(WRITTEN_ONCE) - {"manifest.json"}
    assert {"plugins/CMakeLists.txt", "plugins/registry.cpp", "plugins/token_match/token_match.cuh"} <= sources
    assert "torch's exporter" in (tiny_bundle / "build.log").read_text()


def test_plugin_library_is_in_the_bundle_or_the_reason_is(tiny_bundle: Path) -> None:
    library = open_bundle(tiny_bundle).manifest["plugin_library"]
    if library["status"] == "built":
        assert library["architectures"] == [87]
        assert (tiny_bundle / library["library"]).stat().st_size > 10_000
        assert facts_from_library(tiny_bundle / library["library"]).source_hash == library["source_hash"]
    else:
        assert library["reason"]
        assert not (tiny_bundle / "plugins" / "libedgeexport_plugins.so").exists()


def test_without_plugins_there_is_no_library(
    tiny_recipe: Path, tmp_path: Path, export: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an export that was made before: torch's exporter is not run, which the log says."""
    monkeypatch.setattr("edgeexport.graph.export._program", lambda *arguments: pytest.fail("exported again"))
    result = build(tiny_recipe, "cpu", work_dir=tmp_path / "b", plugins=False, export=export)
    assert result.bundle.manifest["plugin_library"] is None
    assert not (result.bundle.path / "plugins").exists()
    assert "torch's exporter was not run" in (result.bundle.path / "build.log").read_text()


def test_every_file_for_people_or_checks_says_that_weights_are_random(tiny_bundle: Path) -> None:
    statement = "random weights, seed 0"
    for name in ("manifest.json", "tokens.json", "parity.json", "build.log", "model.onnx", "model.trt.onnx"):
        assert statement.encode() in (tiny_bundle / name).read_bytes(), name
    assert "andom weights, seed 0" in (tiny_bundle / "report.html").read_text()
    with np.load(tiny_bundle / "golden.npz") as golden:
        assert statement in str(golden["weights"])


def test_kernel_plans_are_kept(builds: SharedBuilds, tiny_bundle: Path, edgeexport, tmp_path: Path) -> None:
    """Of the model and its dense form, in both precisions; a bundle of an earlier version has none and opens."""
    planned = builds.bundle("tiny.py", "orin", text=TINY_RECIPE, plans=True)
    bundle = open_bundle(planned)
    plans = read_plans(planned)
    if bundle.manifest["checks"]["tensorrt_rtx"]["status"] == "not-run":
        assert plans is None
        return
    assert plans is not None and plans.missing == ()
    found = [(plan.model, plan.precision) for plan in plans.plans]
    assert found == [(model, precision) for model in ("reduced", "dense") for precision in ("fp32", "fp16")]
    products = bundle.json("tokens.json")["graph"]["product_macs"]
    masks = sum(tokens * 6 * 32 for tokens in (64, 48, 40))  # mask logits of three heads as products of their own
    second_class = 3 * 6 * 32  # which a sigmoid does without
    assert sum(kernel.macs for kernel in plans.plans[0].kernels) == products + masks - second_class
    assert plans.plans[0].product_dtypes.keys() == {"float32"} and "float16" in plans.plans[1].product_dtypes
    assert len(plans.plans[0].with_plugins().kernels) == bundle.manifest["pays"]["kernels"]["fp32"]["reduced"]
    shown = edgeexport("inspect", planned, "--kernels", "--json")
    assert json.loads(shown.out)["plans"][0]["total"]["launches"] == len(plans.plans[0].with_plugins().kernels)
    assert open_bundle(tiny_bundle).manifest["pays"]["predicted"] == [], "built without plans"
    old = tmp_path / "old"
    shutil.copytree(tiny_bundle, old)
    manifest = json.loads((old / "manifest.json").read_text())
    del manifest["pays"]
    (old / "manifest.json").write_text(json.dumps(manifest))
    assert edgeexport("inspect", old).code == 0
    assert edgeexport("inspect", old, "--kernels").code == 9


def test_tensorrt_rtx_verdict_is_recorded(tiny_bundle: Path) -> None:
    check = open_bundle(tiny_bundle).manifest["checks"]["tensorrt_rtx"]
    if check["status"] == "not-run":
        pytest.skip(f"TensorRT-RTX not run here: {check['reason']}")
    assert check["status"] == "passed"
    assert check["version"]


def test_graphs_of_the_bundle(tiny_bundle: Path) -> None:
    model = onnx.load(tiny_bundle / "model.onnx")
    assert {function.name for function in model.functions} == {
        "TokenPartition",
        "TokenProtect",
        "TokenUnmerge",
        "UpsampleArgmax",
    }
    assert [output.name for output in model.graph.output] == ["class_map"]
    assert lint_model(model).ok
    plugin = onnx.load(tiny_bundle / "model.trt.onnx")
    assert not plugin.functions
    custom = [node for node in plugin.graph.node if node.domain == "edgeexport"]
    assert {node.op_type for node in custom} == {"TokenProtectSelect", "UpsampleArgmax"}
    for node in custom:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        assert (attributes["plugin_version"], attributes["plugin_namespace"]) == (b"1", b"edgeexport")
    allowed = frozenset(f"edgeexport::{node.op_type}" for node in custom)
    assert not [item for item in lint_model(plugin, allowed_ops=allowed).errors if item.rule == "unknown-domain"]


def test_no_trace_of_this_machine_in_the_graphs(tiny_bundle: Path) -> None:
    repository = str(Path(__file__).resolve().parents[2]).encode()
    for name in ("model.onnx", "model.trt.onnx", "manifest.json", "tokens.json"):
        content = (tiny_bundle / name).read_bytes()
        assert repository not in content
        assert b"site-packages" not in content
        assert str(tiny_bundle.parent).encode() not in content


def test_same_inputs_give_the_same_bytes(tiny_bundle: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    """In a process of its own that exports for itself, so that nothing left over from the first build helps."""
    command = [sys.executable, "-m", "edgeexport", "build", str(tiny_recipe), "--target", "orin", "--no-plans"]
    subprocess.run(
        [*command, "--work-dir", str(tmp_path / "again")],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, FOLDER_VARIABLE: ""},
    )
    assert "was not run" not in (tmp_path / "again" / "build.log").read_text()
    for name in WRITTEN_ONCE:
        assert (tmp_path / "again" / name).read_bytes() == (tiny_bundle / name).read_bytes(), name


def test_batch_of_two_is_checked_against_single_images(tiny_recipe: Path, tmp_path: Path) -> None:
    options = [*SHALLOW_HEADS, "input.shape=(2, 3, 128, 128)"]
    result = build(tiny_recipe, "cpu", cfg_options=options, work_dir=tmp_path / "b")
    checks = [item.check for item in result.comparisons if item.status == "passed"]
    assert checks.count("batch against images one by one") == 2
    assert all(len(set(item.images)) == 2 for item in result.comparisons)
    assert result.bundle.manifest["checks"]["tensorrt_rtx"]["status"] == "not-run"


def test_non_square_input_and_scores(tiny_recipe: Path, tmp_path: Path) -> None:
    options = [*SHALLOW_HEADS, "input.shape=(1, 3, 96, 160)", "input.preprocess=None", "output='scores'"]
    result = build(tiny_recipe, "cpu", cfg_options=options, work_dir=tmp_path / "b")
    assert result.bundle.manifest["outputs"] == [{"name": "scores", "dtype": "float32", "shape": [1, 6, 96, 160]}]
    assert result.bundle.manifest["input"]["shape"] == [1, 3, 96, 160]


def test_extra_outputs_follow_the_prediction(tiny_recipe: Path, tmp_path: Path) -> None:
    names = ["pruned_tokens_2", "smallest_pruned_confidence_2", "protected_pruned_3", "uncertified_pixels"]
    options = [f"extra_outputs={names!r}"]
    result = build(tiny_recipe, "cpu", cfg_options=options, work_dir=tmp_path / "b")
    path = result.bundle.path / "model.onnx"
    assert [output.name for output in onnx.load(path).graph.output] == ["class_map", *names]
    with np.load(result.bundle.path / "golden.npz") as golden:
        found = OnnxRuntimeRunner(path).run(golden["case0/image"])
        for name in names:
            np.testing.assert_allclose(found[name], golden[f"case0/{name}"], atol=1e-5)


def test_k_above_the_unprotected_tokens_is_built_and_reported(tiny_recipe: Path, tmp_path: Path) -> None:
    """With 6 classes and 5 context tokens each, at most 30 of 64 tokens are protected: k = 60 must take some."""
    options = [*SHALLOW_HEADS, "reduction.dtop.prune={2: 60}", "extra_outputs=['protected_pruned_2']"]
    result = build(tiny_recipe, "cpu", cfg_options=options, work_dir=tmp_path / "b")
    adaptive = [item for item in result.comparisons if item.check == "original against fixed"]
    assert {item.status for item in adaptive} == {"not-applicable"}
    assert result.bundle.manifest["checks"]["parity"]["status"] == "incomplete"
    (warning,) = result.warnings
    assert "parity incomplete" in warning and "no threshold prunes exactly 60 tokens after block 2" in warning
    assert verify_bundle(result.bundle.path).status == "incomplete"
    with np.load(result.bundle.path / "golden.npz") as golden:
        assert golden["case0/protected_pruned_2"][0] > 0
        assert golden["case0/pruned_tokens_2"].shape == (1, 60)


def test_uncertified_pixels_are_reported_with_a_remedy(tiny_recipe: Path, tmp_path: Path) -> None:
    """One candidate per cell is wrong at borders between classes: the class map fails, and the message says what helps."""
    with pytest.raises(ParityError) as caught:
        build(tiny_recipe, "cpu", cfg_options=[*ONE_BLOCK, "tail.candidates=1"], work_dir=tmp_path / "b")
    message = str(caught.value)
    assert "tail.candidates = 1 leaves" in message
    assert "tail.form='plain'" in message


@pytest.mark.parametrize(("needed", "remedy"), [(40, "tail.candidates=40 certifies all"), (90, "no slower")])
def test_uncertified_pixels_without_a_wrong_one_are_a_warning(
    needed: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeexport.commands.checks.candidates_needed", lambda scores, height, width: needed)
    tail_of_walk = ClassMapTail(num_classes=150, grid=(4, 4), size=(64, 64), candidates=16, fast=True)
    fixed = SimpleNamespace(walk=SimpleNamespace(class_map_tail=tail_of_walk))
    reference = SimpleNamespace(
        outputs={"uncertified_pixels": np.array([5, 2])},
        trace=SimpleNamespace(outputs={"class_scores": object()}),
        batch=SimpleNamespace(names=("a", "b")),
    )
    tail, (warning,) = tail_check(fixed, [reference, reference])
    assert (tail["uncertified_pixels"], tail["candidates_needed"], tail["images"]) == (14, needed, 4)
    assert "leaves 14 pixels of the test images uncertified" in warning
    assert remedy in warning


def test_failed_parity_keeps_the_evidence(
    tiny_recipe: Path, tiny_bundle: Path, tmp_path: Path, export: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "b"
    shutil.copytree(tiny_bundle, target)
    original = OnnxRuntimeRunner.run

    def wrong(self: OnnxRuntimeRunner, image: np.ndarray, extra: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = original(self, image, extra)
        return {**found, "class_map": found["class_map"] + 1}

    monkeypatch.setattr(OnnxRuntimeRunner, "run", wrong)
    with pytest.raises(ParityError, match="outputs differ: class_map") as caught:
        build(tiny_recipe, "cpu", work_dir=target, export=export)
    assert caught.value.exit_code == 4
    evidence = json.loads((tmp_path / "b.failed" / "parity.json").read_text())
    assert evidence["comparisons"][0]["status"] == "failed"
    assert open_bundle(target).manifest["target"] == "orin", "the old bundle stays"


def test_tensorrt_rtx_refusal_fails_the_build(
    tiny_recipe: Path, tmp_path: Path, export: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = RtxCheck("failed", "1.0", "no such op", 0.1, None, None, None)
    monkeypatch.setattr("edgeexport.commands.plans.check_tensorrt_rtx", lambda path, **_: refusal)
    with pytest.raises(BuildError, match="no such op") as caught:
        build(tiny_recipe, "orin", work_dir=tmp_path / "b", export=export, plans=False)
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == [tiny_recipe]


def test_missing_tensorrt_rtx_is_never_called_passed(
    tiny_recipe: Path, tmp_path: Path, export: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = RtxCheck("not-run", None, "wheel not installed", None, None, None, None)
    monkeypatch.setattr("edgeexport.commands.plans.check_tensorrt_rtx", lambda path, **_: absent)
    result = build(tiny_recipe, "orin", work_dir=tmp_path / "b", export=export, plans=False)
    check = result.bundle.manifest["checks"]["tensorrt_rtx"]
    assert (check["status"], check["version"], check["reason"]) == ("not-run", None, "wheel not installed")
    assert result.warnings == ("TensorRT-RTX check not run: wheel not installed",)


def test_full_disk_leaves_the_old_bundle_whole(
    tiny_recipe: Path, tiny_bundle: Path, tmp_path: Path, export: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "b"
    shutil.copytree(tiny_bundle, target)
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "model.trt.onnx":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BuildError, match="the disk is full") as caught:
        build(tiny_recipe, "cpu", work_dir=target, export=export)
    assert caught.value.exit_code == 5
    assert open_bundle(target).manifest["target"] == "orin"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "tiny.py"]


def test_interrupt_leaves_the_old_bundle_whole(tiny_recipe: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """A real process, a real Ctrl-C, while the new bundle is being written."""
    target = tmp_path / "b"
    shutil.copytree(tiny_bundle, target)
    command = [sys.executable, "-m", "edgeexport", "build", str(tiny_recipe), "--target", "orin", "--no-plans"]
    process = subprocess.Popen(
        [*command, "--work-dir", str(target)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # A test run in the background ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "TensorRT-RTX" in line:
            break
    assert any(path.name.startswith(".b.partial") for path in tmp_path.iterdir())
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted; an existing bundle stays as it was" in rest
    assert open_bundle(target).manifest["target"] == "orin"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "tiny.py"]


def test_work_dir_that_holds_something_else_is_left_alone(tiny_recipe: Path, tmp_path: Path) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "holiday.jpg").write_text("precious")
    with pytest.raises(UsageError, match="not an edgeexport bundle, and is left alone") as caught:
        build(tiny_recipe, "cpu", work_dir=target)
    assert caught.value.exit_code == 2
    assert (target / "holiday.jpg").read_text() == "precious"


def test_cts_on_an_input_that_is_no_multiple_of_32(tmp_path: Path) -> None:
    recipe = tmp_path / "cts.py"
    text = TINY_RECIPE.replace(
        "reduction = dict(dtop=dict(prune={2: 16, 3: 8}))", "reduction = dict(cts=dict(num_shared=2))"
    )
    recipe.write_text(text.replace("shape=(1, 3, 128, 128)", "shape=(1, 3, 144, 128)"))
    with pytest.raises(RecipeError, match="32") as caught:
        build(recipe, "cpu", work_dir=tmp_path / "b")
    assert caught.value.exit_code == 2


def test_verify_again_on_the_users_images(tiny_bundle: Path, tmp_path: Path) -> None:
    from edgeexport.inputs.photos import shipped_photos

    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    data = tmp_path / "data"
    data.mkdir()
    for photo in shipped_photos()[1:4]:
        shutil.copy(photo, data)
    result = verify_bundle(bundle, data=data)
    assert result.status == "passed"
    assert result.original_not_run == ""
    compared = [item.images[0] for item in result.comparisons if item.check == "original against fixed"]
    assert compared == ["chelsea.jpg", "coffee.jpg", "rocket.jpg"]
    assert json.loads((bundle / "verify.json").read_text())["status"] == "passed"
    assert open_bundle(bundle)


@pytest.mark.slow
def test_hybrid_with_policy_network_on_a_non_square_batch(tmp_path: Path) -> None:
    recipe = tmp_path / "hybrid.py"
    recipe.write_text(
        TINY_RECIPE.replace(
            "reduction = dict(dtop=dict(prune={2: 16, 3: 8}))",
            "reduction = dict(cts=dict(num_shared=3, align_tokens=8), dtop=dict(prune={2: 16, 3: 8}))",
        ).replace("shape=(1, 3, 128, 128)", "shape=(2, 3, 128, 192)")
    )
    result = build(recipe, "orin", work_dir=tmp_path / "b", plans=False)
    checks = result.bundle.manifest["checks"]
    assert checks["parity"]["status"] == "passed"
    assert result.bundle.manifest["num_shared"] == 8
    assert verify_bundle(result.bundle.path).status == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["", "_cts", "_dtop", "_dtop8", "_cts_dtop", "_cts_dtop8", "_atm"])
def test_every_small_recipe_builds(reduction: str, tmp_path: Path) -> None:
    """ViT-Ti for orin, with what `edgeexport build` checks; the ViT-B recipes differ in width alone."""
    result = build(f"segvit_ti{reduction}.py", "orin", work_dir=tmp_path / "b", plans=False)
    checks = result.bundle.manifest["checks"]
    assert checks["parity"]["status"] == "passed"
    assert checks["tensorrt_rtx"]["status"] in ("passed", "not-run")
    assert checks["tail"].get("uncertified_pixels", 0) == 0
    assert result.warnings == () or checks["tensorrt_rtx"]["status"] == "not-run"
