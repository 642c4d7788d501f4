"""What `edgeexport verify` says it executed, and what an incomplete verification did and did not check."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from shared_cases import CommandResult

from edgeexport.bundle import Bundle, open_bundle, sha256_of
from edgeexport.commands.verify import Executed, VerifyResult
from edgeexport.terminal import output
from edgeexport.terminal import results as terminal
from edgeexport.verify.compare import Comparison

Command = Callable[..., CommandResult]

NO_TORCH = "torch, timm not installed (pip install 'edgeexport[export]')"
PASSED = Comparison("golden outputs", "torch fixed", "tensorrt", ("x.jpg",), "passed")
EXECUTED = Executed("engine.plan", "ab" * 32, "cd" * 32)


def result(
    *comparisons: Comparison, not_run: str = NO_TORCH, executed: Executed | None = EXECUTED, path: Path = Path()
) -> VerifyResult:
    return VerifyResult(Bundle(path, {}), comparisons, not_run, "tensorrt engine 10.3.0", executed)


def printed(found: VerifyResult, monkeypatch: pytest.MonkeyPatch) -> str:
    stream = io.StringIO()
    console = type(output.results_console)(file=stream, width=400)
    for module in (terminal, output):
        monkeypatch.setattr(module, "results_console", console)
    terminal.print_verify(found)
    return stream.getvalue()


def test_without_torch_incomplete_is_explained_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    found = result(PASSED, PASSED)
    assert found.status == found.as_dict()["status"] == "incomplete"
    text = printed(found, monkeypatch)
    assert f"original not run: {NO_TORCH}" in text
    assert "incomplete (2 of 2 comparisons passed and none failed, with what the original model computed at the" in text
    assert "without torch, and what is expected on a device. Not checked: the original model itself" in text
    assert "executed: engine.plan in tensorrt engine 10.3.0" in text and "not executed" not in text


def test_other_reasons_are_not_called_expected() -> None:
    checkpoint = result(PASSED, PASSED, not_run="the weights x.pth are not in the bundle; give them with --checkpoint")
    assert "expected" not in checkpoint.explanation
    assert checkpoint.explanation.endswith("Not checked: the original model itself, again")
    few = result(PASSED, replace(PASSED, status="not-applicable"), not_run="")
    assert few.status == "incomplete"
    assert few.explanation == (
        "1 of 2 comparisons passed and none failed; every check needs 2 different batches on which it passes"
    )
    assert result(PASSED, PASSED, not_run="").explanation == ""
    assert result(replace(PASSED, status="failed")).explanation == ""


def test_what_was_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    of_graph = replace(EXECUTED, engine="model.onnx", engine_sha256=None, engine_not_run="engine.plan")
    text = printed(result(PASSED, PASSED, executed=of_graph), monkeypatch)
    assert "executed: model.onnx in " in text
    assert "not executed: engine.plan, the bundle's engine: nothing here is said of it" in text


def test_of_a_verification_elsewhere_the_file_brought_here_tells(tmp_path: Path) -> None:
    there = result(PASSED, PASSED).as_dict()
    (tmp_path / "verify.json").write_text(json.dumps(there))
    assert result(PASSED, PASSED, executed=None, path=tmp_path).as_dict() == there
    (tmp_path / "verify.json").unlink()
    assert "engine_sha256" not in result(PASSED, executed=None, path=tmp_path).as_dict()


def test_engine_and_manifest_stand_in_verify_json(edgeexport: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    """And what verify.json says no longer counts once the engine is another."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    assert edgeexport("build", bundle, "--target", "cpu").code == 0
    assert edgeexport("verify", bundle).code == 0
    found = json.loads((bundle / "verify.json").read_text())
    assert (found["engine"], found["engine_not_run"]) == ("engine.onnx", "")
    assert found["engine_sha256"] == sha256_of(bundle / "engine.onnx")
    assert found["manifest_sha256"] == sha256_of(bundle / "manifest.json")
    judge = ("compare", bundle, bundle, "--fail-if", "verify.failed > 0")
    assert edgeexport(*judge).code == 0

    record = json.loads((bundle / "engine.json").read_text())
    with (bundle / "engine.onnx").open("ab") as stream:
        stream.write(b"\x12\x00")
    record["files"]["engine.onnx"] = sha256_of(bundle / "engine.onnx")
    (bundle / "engine.json").write_text(json.dumps(record))
    refused = edgeexport(*judge)
    assert refused.code == 6 and "verify.json is of an earlier engine (engine.onnx " in refused.err

    assert edgeexport("verify", bundle, "--engine", "none").code == 0
    found = json.loads((bundle / "verify.json").read_text())
    assert (found["engine"], found["engine_sha256"], found["engine_not_run"]) == ("model.onnx", None, "engine.onnx")
    refused = edgeexport(*judge)
    assert refused.code == 6 and "of model.onnx in ONNX Runtime, not of engine.onnx" in refused.err
    assert "of model.onnx alone" in (bundle / "report.html").read_text()
    assert open_bundle(bundle).name


def test_a_full_disk_leaves_the_earlier_verification(
    tiny_bundle: Path, tmp_path: Path, edgeexport: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "verify.json").write_text('{"earlier": true}')

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = edgeexport("verify", bundle, "--engine", "none")
    assert done.code == 5 and "verify.json" in done.err and "Traceback" not in done.err
    assert json.loads((bundle / "verify.json").read_text()) == {"earlier": True}
    assert not list(bundle.glob(".*"))


def test_a_link_that_a_bundle_brought_is_not_written_through(
    tiny_bundle: Path, tmp_path: Path, edgeexport: Command
) -> None:
    bundle, precious = tmp_path / "b", tmp_path / "precious"
    shutil.copytree(tiny_bundle, bundle)
    precious.write_text("precious")
    (bundle / "verify.json").unlink(missing_ok=True)
    (bundle / "verify.json").symlink_to("../precious")
    assert edgeexport("verify", bundle, "--engine", "none").code == 0
    assert precious.read_text() == "precious"
    assert not (bundle / "verify.json").is_symlink()
    assert json.loads((bundle / "verify.json").read_text())["status"] == "passed"


def test_a_bundle_that_lacks_a_decision_of_its_model(edgeexport: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    lost = manifest["inner_outputs"].pop()["name"]
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    done = edgeexport("verify", tmp_path / "b", "--engine", "none")
    assert done.code == 9
    assert lost in done.err and "copy or build the bundle again" in done.err
