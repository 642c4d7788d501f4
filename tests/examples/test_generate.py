"""Writing scenes to disk: layout, continuing, refusing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from examples.scenes import generate as module
from examples.scenes.classes import CLASSES
from examples.scenes.generate import FolderRefused, app, generate
from examples.scenes.scene import draw_scene

COUNTS = {"train": 3, "val": 1, "test": 0}


def _times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def test_layout_is_mmsegmentations(tmp_path: Path) -> None:
    content = generate(tmp_path / "out", 5, COUNTS, workers=1)
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    expected = [f"{kind}/train/scene_{i:05d}.png" for kind in ("annotations", "images") for i in range(3)]
    expected += [f"{kind}/val/scene_00000.png" for kind in ("annotations", "images")]
    assert found == sorted([*expected, "scenes.json"])
    assert not (tmp_path / "out" / "images" / "test").exists()
    assert content == json.loads((tmp_path / "out" / "scenes.json").read_text())
    assert content["schema"] == "edgeexport.scenes/1" and content["classes"] == list(CLASSES)
    assert content["counts"] == COUNTS and set(content["sha256"]) == {"train", "val"} and content["complete"]


def test_files_decode_to_the_scene(tmp_path: Path) -> None:
    generate(tmp_path / "out", 5, {"val": 2}, workers=1)
    scene = draw_scene(5, "val", 1)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/images/val/scene_00001.png")), scene.image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/annotations/val/scene_00001.png")), scene.label)


def test_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    one = generate(tmp_path / "one", 5, COUNTS, workers=1)
    two = generate(tmp_path / "two", 5, COUNTS, workers=2)
    assert one == two


def test_interrupted_run_continues_with_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generate(tmp_path / "whole", 5, COUNTS, workers=1)

    drawn: list[int] = []

    def stopping(seed: int, split: str, index: int, size: int = 256):  # type: ignore[no-untyped-def]
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(index)
        return draw_scene(seed, split, index, size)

    monkeypatch.setattr(module, "draw_scene", stopping)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        generate(out, 5, COUNTS, workers=1)
    assert json.loads((out / "scenes.json").read_text())["complete"] is False
    before = _times(out)
    assert len(before) == 4
    monkeypatch.undo()
    assert generate(out, 5, COUNTS, workers=1) == whole
    after = _times(out)
    assert len(after) == 8 and all(after[path] == time for path, time in before.items())


def test_broken_picture_is_drawn_again(tmp_path: Path) -> None:
    whole = generate(tmp_path, 5, COUNTS, workers=1)
    broken = tmp_path / "images/train/scene_00001.png"
    broken.write_bytes(broken.read_bytes()[:500])
    Image.new("L", (8, 8)).save(tmp_path / "annotations/train/scene_00002.png")
    assert generate(tmp_path, 5, COUNTS, workers=1) == whole


def test_changed_pixels_of_a_finished_set_are_noticed(tmp_path: Path) -> None:
    generate(tmp_path, 5, COUNTS, workers=1)
    Image.new("RGB", (256, 256)).save(tmp_path / "images/train/scene_00001.png")
    with pytest.raises(FolderRefused, match="split train"):
        generate(tmp_path, 5, COUNTS, workers=1)


@pytest.mark.parametrize("change", [{"seed": 6}, {"counts": {"train": 4}}])
def test_another_data_set_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    generate(tmp_path, 5, {"train": 1}, workers=1)
    before = _times(tmp_path)
    arguments: dict[str, object] = {"seed": 5, "counts": {"train": 1}, **change}
    with pytest.raises(FolderRefused, match=next(iter(change))):
        generate(tmp_path, workers=1, **arguments)  # type: ignore[arg-type]
    assert _times(tmp_path) == before


def test_another_generator_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(tmp_path, 5, {"val": 1}, workers=1)
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    with pytest.raises(FolderRefused, match="generator_version"):
        generate(tmp_path, 5, {"val": 1}, workers=1)


@pytest.mark.parametrize("content", [None, "not json", "[]"])
def test_foreign_folder_exits_2_and_stays_untouched(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    if content is not None:
        (tmp_path / "scenes.json").write_text(content)
    command = ["--images", "1", "--val", "0", "--test", "0", "--workers", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "give another --out" in result.output
    assert not (tmp_path / "images").exists() and (tmp_path / "mine.txt").read_text() == "keep"


def test_command_writes_and_prints_digests(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["--images", "1", "--val", "1", "--test", "0", "--seed", "9", "--workers", "1", "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "scenes.json").read_text())
    assert content["seed"] == 9 and all(digest in result.output for digest in content["sha256"].values())
