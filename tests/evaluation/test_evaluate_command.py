"""``edgeexport evaluate`` on the command line: JSON, tables, messages, exit codes, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_cases import label_of, write_pairs
from PIL import Image
from shared_cases import REPOSITORY, CommandResult

Command = Callable[..., CommandResult]


def test_json_alone_on_standard_output(edgeexport: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 2, split="val")
    out = tmp_path / "out"
    result = edgeexport(
        "evaluate", tiny_recipe, "--data", data, "--split", "val", "--form", "fixed", "--out-dir", out, "--json"
    )
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert document == json.loads((out / "evaluation.json").read_text())
    assert {"miou", "pixel_accuracy", "per_class_iou", "tokens_mean", "images"} <= set(document)
    assert list(document["forms"]) == ["fixed"]
    assert "... 2 of 2 images" in result.err
    assert "note: random weights, seed 0" in result.err


def test_tables_for_people(edgeexport: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 3)
    (data / "annotations" / "01.png").unlink()
    Image.fromarray(label_of(2, (64, 64))).save(data / "annotations" / "02.png")
    options = ("--cfg-options", "classes=['road', '[sky]', 'car', 'tree', 'sign', 'person']")
    result = edgeexport("evaluate", tiny_recipe, "--data", data, "--out-dir", tmp_path / "out", *options)
    assert result.code == 0, result.err
    for words in ("on 1 images of", "adaptive", "fixed", "mIoU", "[sky]", "onnxruntime not run: needs a bundle"):
        assert words in result.out
    assert "left out 2: 01: image without annotation; 02: the annotation has 64 x 64 pixels" in result.out
    assert "note: left out: 02" in result.err
    assert "evaluation.json" in result.out


def test_bundle_and_its_default_folder(
    edgeexport: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_pairs(tmp_path / "d", 3)
    result = edgeexport("evaluate", tiny_bundle, "--data", data, "--form", "onnxruntime", "--limit", 2, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert (document["form"], document["images"]) == ("onnxruntime", 2)
    assert (tmp_path / "evaluation" / tiny_bundle.name / "evaluation.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "{data}", "--form", "fixd"), "--form fixd | no form of this name | did you mean 'fixed'?"),
        (("--data", "{data}", "--form", "tensorrt"), "--form tensorrt | needs a bundle"),
        (("--data", "{data}", "--limit", "0"), "--limit 0"),
        (("--data", "{data}", "--split", "val"), "--split val"),
        (("--data", "{data}/nowhere"), "no such folder"),
        (("--data", "{data}/images"), "give the folder above images/"),
        (("--data", "{data}", "--checkpoint", "nowhere.pth"), "nowhere.pth"),
        (("--data", "{data}", "--cfg-options", "reduction.dtop.prune={2: 64}"), "reduction.dtop.prune[2] = 64"),
    ],
)
def test_requests_that_do_not_fit(
    arguments: tuple[str, ...], message: str, edgeexport: Command, tiny_recipe: Path, tmp_path: Path
) -> None:
    data = write_pairs(tmp_path / "d", 1)
    filled = [argument.replace("{data}", str(data)) for argument in arguments]
    result = edgeexport("evaluate", tiny_recipe, *filled, "--out-dir", tmp_path / "out")
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "out").exists()


def test_endings_are_asked_for(edgeexport: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 2)
    for path in (data / "annotations").iterdir():
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    options = ("--data", data, "--form", "fixed", "--out-dir", tmp_path / "out", "--json")
    found = edgeexport("evaluate", tiny_recipe, *options, "--label-suffix", "_mask.png")
    assert found.code == 0, found.err
    assert json.loads(found.out)["images"] == 2
    missed = edgeexport("evaluate", tiny_recipe, *options, "--image-suffix", "_rgb.png", "--label-suffix", "_mask.png")
    assert missed.code == 2 and "--image-suffix _rgb.png" in missed.err
    beside = edgeexport("evaluate", tiny_recipe, "--data", data, "--against", "dense", "--label-suffix", "_mask.png")
    assert beside.code == 2 and "belongs to labelled segmentation" in beside.err
    delay = edgeexport("calibrate", tiny_recipe, "--delay", "--data", data, "--image-suffix", "_rgb.png")
    assert delay.code == 2 and "--image-suffix" in delay.err


def test_subjects_that_do_not_fit(edgeexport: Command, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 1)
    classifier = edgeexport("evaluate", "tome_deit_ti.py", "--data", data)
    assert classifier.code == 2
    assert "mIoU needs a segmenter" in classifier.err
    assert edgeexport("evaluate", data, "--data", data).code == 9
    assert "segvit_cts_dtop.py" in edgeexport("evaluate", "segvit_cts_dtpo.py", "--data", data).err


def test_interrupted_process_says_that_it_goes_on_and_does(
    edgeexport: Command, tiny_recipe: Path, tmp_path: Path
) -> None:
    data, out = write_pairs(tmp_path / "d", 200), tmp_path / "out"
    arguments = ("evaluate", str(tiny_recipe), "--data", str(data), "--out-dir", str(out), "--json")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeexport", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A test run in a shell's background ignores it, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    progress = out / "progress.jsonl"
    until = time.monotonic() + 300
    while time.monotonic() < until and (not progress.exists() or progress.read_bytes().count(b"\n") < 4):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted; what was measured is kept" in told
    assert "Traceback" not in told
    kept = progress.read_bytes()
    assert 4 <= kept.count(b"\n") < 401
    result = edgeexport(*arguments, "--limit", 20)
    assert result.code == 0
    assert "were done by an earlier run" in result.err
    assert progress.read_bytes().startswith(kept.rpartition(b"\n")[0])


def test_without_torch_it_says_what_is_missing(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from edgeexport.cli import main\nsys.argv = ['edgeexport', 'evaluate', 'x.py', '--data', 'd']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 2
    assert "this needs torch, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr
