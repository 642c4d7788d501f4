"""What a stranger types with a published config and a folder in Cityscapes' layout: build, evaluate, calibrate; windows too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_cases import written_dtop_config, written_segmenter_config
from shared_cases import CommandResult

Command = Callable[..., CommandResult]
CLASSES = 19
BUDGET = "1.9e6"


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """Three images of 128 x 64 pixels in two towns, annotated; and what else Cityscapes has beside."""
    noise = np.random.default_rng(2)
    for number in range(3):
        town, stem = f"town{number % 2}", f"town{number % 2}_{number:06}_000019"
        images, labels = tmp_path / "data/leftImg8bit/val" / town, tmp_path / "data/gtFine/val" / town
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        coarse = noise.integers(0, 256, (4, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse.repeat(16, axis=0).repeat(16, axis=1)).save(images / f"{stem}_leftImg8bit.png")
        label = (coarse[:, :, 0] % CLASSES).repeat(16, axis=0).repeat(16, axis=1)
        Image.fromarray(label).save(labels / f"{stem}_gtFine_labelTrainIds.png")
        Image.new("L", (128, 64)).save(labels / f"{stem}_gtFine_instanceIds.png")
    return tmp_path / "data"


def told(result: CommandResult) -> dict:
    """What --json gave: one object, and nothing else on standard output."""
    assert result.code == 0, result.err
    return json.loads(result.out)


@pytest.mark.slow
def test_three_commands(
    tmp_path: Path,
    cityscapes: Path,
    write: Callable[[str, str], Path],
    edgeexport: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = written_dtop_config(write, kind="CityscapesDataset", classes=CLASSES, reduce=False)
    chosen = ["--cfg-options", "reduction.dtop.prune={2: 4, 3: 2}"]
    built = told(edgeexport("build", config, *chosen, "--target", "cpu", "--work-dir", "bundle", "--json"))
    assert built["bundle"]
    data = ["--data", cityscapes, "--split", "val"]
    evaluated = told(edgeexport("evaluate", "bundle", *data, "--json"))
    assert evaluated["form"] == "onnxruntime" and evaluated["forms"]["onnxruntime"]["images"] == 3
    assert "road" in evaluated["per_class_iou"]
    torch = told(edgeexport("evaluate", config, *chosen, *data, "--form", "fixed", "--out-dir", "recipe", "--json"))
    assert torch["per_class_iou"] == pytest.approx(evaluated["per_class_iou"], abs=0.5, nan_ok=True)

    calibrated = told(edgeexport("calibrate", config, *data, "--macs", BUDGET, "--json"))
    proposal = calibrated["proposal"]
    assert proposal["macs"] <= float(BUDGET) < proposal["dense_macs"] and proposal["prune"]
    assert calibrated["data"]["labelled"] and calibrated["left_out"] == []
    recipe = Path(calibrated["files"]["recipe"])
    assert told(edgeexport("build", recipe, "--target", "cpu", "--dry-run", "--json"))
    by_threshold = ["--coverage", "0.9", "--threshold", "0.5", "--out-dir", "covered"]
    covered = told(edgeexport("calibrate", config, *data, *by_threshold, "--json"))
    assert covered["proposal"]["measure"] == "mIoU"


@pytest.mark.slow
def test_windows_that_slide(
    tmp_path: Path,
    cityscapes: Path,
    write: Callable[[str, str], Path],
    edgeexport: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DToP's config at Cityscapes' proportions: 64 x 128 pixels, three windows."""
    monkeypatch.chdir(tmp_path)
    config = written_dtop_config(write, kind="CityscapesDataset", classes=CLASSES, reduce=False)
    size = ["--cfg-options", "input.shape=(1, 3, 64, 128)"]
    data = ["--data", cityscapes, "--split", "val"]
    chosen = [*size, "reduction.dtop.prune={2: 4, 3: 2}"]
    told(edgeexport("build", config, *chosen, "--target", "cpu", "--work-dir", "bundle", "--json"))
    manifest = json.loads(Path("bundle/manifest.json").read_text())
    assert manifest["window_grid"] == {"size": [64, 64], "rows": [0], "columns": [0, 42, 64]}
    evaluated = told(edgeexport("evaluate", "bundle", *data, "--json"))
    assert evaluated["forms"].keys() == {"onnxruntime"} or evaluated["forms"].keys() == {"onnxruntime", "fixed"}
    assert "3 windows" in evaluated["not_run"]["adaptive"]

    photo = next(cityscapes.rglob("*_leftImg8bit.png"))
    ran = edgeexport("run", "bundle", photo, "--out-dir", "pictures")
    assert ran.code == 0, ran.err
    assert next(Path("pictures").glob("*_overlay.png")).is_file()

    refused = edgeexport("calibrate", config, *size, *data, "--macs", BUDGET)
    assert refused.code == 2 and "found test_cfg with 3 windows" in refused.err
    whole = edgeexport("calibrate", config, "--cfg-options", "model.test_cfg=None", *data, "--macs", BUDGET)
    assert whole.code == 0, whole.err


@pytest.mark.slow
def test_algm_is_calibrated_window_by_window(
    tmp_path: Path,
    cityscapes: Path,
    write: Callable[[str, str], Path],
    edgeexport: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = written_segmenter_config(write)
    options = [
        "--cfg-options",
        "input.shape=(1, 3, 64, 128)",
        "reduction.algm={'windows': 1, 'r': 1, 'blocks': (1, 2)}",
    ]
    data = ["--data", cityscapes, "--split", "val", "--threshold", "0.2"]
    found = told(edgeexport("calibrate", config, *options, *data, "--json"))
    assert found["slid"] == 3 and len(found["per_image"]) == 9, "three images of three windows"
    drawn = edgeexport("calibrate", config, *options, *data)
    assert "9 windows of 3 images" in drawn.out
