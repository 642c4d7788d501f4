"""Evaluation of recipes and bundles: mmsegmentation's figures, what is left out, and interruptions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_cases import (
    ATM_RECIPE,
    CTS_RECIPE,
    NUM_CLASSES,
    RANDOM_RECIPE,
    TOME_RECIPE,
    evaluated,
    exact_thresholds,
    label_of,
    photo_of,
    write_pairs,
    written_recipe,
)
from numpy.typing import NDArray
from PIL import Image
from shared_cases import TINY_RECIPE

from edgeexport.bundle import source_hash
from edgeexport.errors import UsageError
from edgeexport.evaluation.executions import FixedExecution, PublishedExecution
from edgeexport.evaluation.progress_file import ProgressFile
from edgeexport.evaluation.result import Evaluation
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import input_from_photo
from edgeexport.recipe import load_recipe


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every call of an execution in torch: its name, and how many photographs it was given."""
    calls: list[tuple[str, int]] = []

    def recorded(run: Callable) -> Callable:
        def wrapper(self: FixedExecution | PublishedExecution, photos: Sequence[Image.Image]) -> list:
            calls.append((self.name, len(photos)))
            return run(self, photos)

        return wrapper

    for execution in (PublishedExecution, FixedExecution):
        monkeypatch.setattr(execution, "run", recorded(execution.run))
    return calls


def stopping_at(count: int) -> Callable[[int, int, str], None]:
    def on_progress(done: int, total: int, name: str) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return on_progress


def nearest_places(source: int, target: int) -> NDArray[np.int64]:
    """For each of ``target`` pixels on a line, the one of ``source`` whose centre is nearest; of two the later."""
    centres, own = target * (2 * np.arange(source) + 1), source * (2 * np.arange(target) + 1)
    distance = np.abs(own[:, None] - centres)
    return source - 1 - distance[:, ::-1].argmin(axis=1)


def document_of(result: Evaluation) -> dict:
    stored = json.loads(result.file.read_text())
    assert stored == json.loads(json.dumps(result.as_dict()))
    return stored


@pytest.mark.parametrize("text", [TINY_RECIPE, CTS_RECIPE, TOME_RECIPE, RANDOM_RECIPE, ATM_RECIPE])
def test_figures_are_those_of_mmsegmentations_metric(text: str, tmp_path: Path) -> None:
    """Images and labels of two other sizes than the model's."""
    from mmseg.evaluation import IoUMetric

    path = written_recipe(tmp_path, text)
    data = write_pairs(tmp_path / "d", 3, size=(150, 100))
    photo_of(8, (61, 80)).save(data / "images" / "8.png")
    Image.fromarray(label_of(8, (61, 80))).save(data / "annotations" / "8.png")
    found = evaluated(path, data=data, executions=("fixed",), out_dir=tmp_path / "out")

    recipe = load_recipe(path)
    model = fixed_from_model(model_from_recipe(recipe)[0], recipe)
    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": list(found.classes)}
    for image in sorted((data / "images").iterdir()):
        photo, label = Image.open(image), np.asarray(Image.open(data / "annotations" / image.name))
        with torch.no_grad():
            trace = model.trace(torch.from_numpy(input_from_photo(photo, recipe.input)[None]))
        prediction = trace.outputs[recipe.output]
        class_map = (prediction.argmax(dim=1) if prediction.ndim == 4 else prediction)[0].numpy()
        rows, columns = (nearest_places(*sides) for sides in zip(class_map.shape, label.shape, strict=True))
        resized = class_map[np.ix_(rows, columns)]
        sample = {
            "pred_sem_seg": {"data": torch.from_numpy(resized.astype(np.int64))[None]},
            "gt_sem_seg": {"data": torch.from_numpy(label.astype(np.int64))[None]},
        }
        metric.process({}, [sample])
    expected = metric.evaluate(size=4)
    document = document_of(found)
    assert document["miou"] == pytest.approx(expected["mIoU"], abs=0.01)
    assert document["pixel_accuracy"] == pytest.approx(expected["aAcc"], abs=0.01)
    assert document["mean_accuracy"] == pytest.approx(expected["mAcc"], abs=0.01)
    assert 0 < document["miou"] < 50


def test_document(tmp_path: Path) -> None:
    recipe = written_recipe(tmp_path, TINY_RECIPE)
    data = write_pairs(tmp_path / "d", 2, split="val")
    document = document_of(evaluated(recipe, data=data, split="val", out_dir=tmp_path / "out"))
    assert document["schema"] == "edgeexport.evaluation/1"
    assert document["provenance"] == "measured"
    assert (document["subject"], document["kind"], document["recipe"]) == ("segmenter", "recipe", "segmenter")
    assert (document["form"], document["images"], document["split"]) == ("fixed", 2, "val")
    assert document["weights"]["origin"] == "random"
    assert set(document["forms"]) == {"adaptive", "fixed"}
    assert document["forms"]["fixed"].items() <= document.items()
    assert document["tokens_per_block"] == [64, 64, 48, 40]
    assert document["tokens_mean"] == 54
    adaptive = document["forms"]["adaptive"]
    assert adaptive["settings"] == {"thresholds": {"2": 0.9, "3": 0.9}}
    assert adaptive["tokens_mean"] == pytest.approx(sum(adaptive["tokens_per_block"]) / 4, abs=0.001)
    per_class = document["per_class_iou"]
    assert list(per_class) == [f"class {i}" for i in range(NUM_CLASSES)]
    known = [value for value in per_class.values() if value is not None]
    assert document["miou"] == pytest.approx(np.mean(known), abs=0.001)
    assert document["left_out"] == []


def test_tokens_that_leave_at_random_are_measured_in_the_fixed_form(tmp_path: Path) -> None:
    """Beside DToP at the same counts: as many tokens, the same work, other tokens and so other figures."""
    data = write_pairs(tmp_path / "d", 3)
    texts = {
        "random": RANDOM_RECIPE,
        "other": RANDOM_RECIPE.replace("3: 8}", "3: 8}, seed=1"),
        "dtop": TINY_RECIPE,
        "dense": TINY_RECIPE.replace("reduction = dict(dtop=dict(prune={2: 16, 3: 8}))", ""),
    }
    recipes = {name: written_recipe(tmp_path, text, name) for name, text in texts.items()}
    found = evaluated(recipes.pop("random"), data=data, out_dir=tmp_path / "out")
    document = document_of(found)
    assert set(found.executions) == {"fixed"} == {document["form"]}
    assert "nothing is pruned by threshold here" in document["not_run"]["adaptive"]
    assert (document["images"], document["tokens_per_block"]) == (3, [64, 64, 48, 40])
    others = {
        name: evaluated(path, data=data, executions=("fixed",), out_dir=tmp_path / name).primary
        for name, path in recipes.items()
    }
    assert found.primary.macs_mean == others["other"].macs_mean == others["dtop"].macs_mean != others["dense"].macs_mean
    assert len({found.primary.scores.miou, *(other.scores.miou for other in others.values())}) == 4


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = evaluated(written_recipe(tmp_path, ATM_RECIPE, "mine"), data=write_pairs(tmp_path / "d", 1))
    assert found.file == Path("evaluation/mine/evaluation.json")
    assert sorted(path.name for path in found.file.parent.iterdir()) == ["evaluation.json", "progress.jsonl"]


def test_adaptive_is_fixed_where_the_threshold_prunes_exactly_k(tmp_path: Path) -> None:
    path, data = written_recipe(tmp_path, TINY_RECIPE), write_pairs(tmp_path / "d", 1)
    recipe = load_recipe(path)
    thresholds = exact_thresholds(model_from_recipe(recipe)[0], recipe, photo_of(0))
    found = evaluated(path, data=data, thresholds=thresholds, out_dir=tmp_path / "out")
    adaptive, fixed = found.executions["adaptive"], found.executions["fixed"]
    assert adaptive.tokens_per_block == fixed.tokens_per_block
    assert adaptive.macs_mean == fixed.macs_mean
    assert adaptive.scores.miou == pytest.approx(fixed.scores.miou, abs=0.1)
    own = evaluated(path, data=data, out_dir=tmp_path / "own").executions["adaptive"]
    assert own.tokens_per_block != fixed.tokens_per_block


def test_bundle_in_all_forms(tiny_bundle: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "d", 3, size=(100, 140))
    found = evaluated(tiny_bundle, data=data, out_dir=tmp_path / "out")
    assert (found.primary_name, set(found.executions)) == ("onnxruntime", {"adaptive", "fixed", "onnxruntime"})
    onnx, fixed = found.executions["onnxruntime"], found.executions["fixed"]
    assert onnx.tokens_per_block == fixed.tokens_per_block
    assert onnx.macs_mean == fixed.macs_mean
    assert onnx.scores.miou == pytest.approx(fixed.scores.miou, abs=0.05)
    document = document_of(found)
    assert document["recipe"] == "tiny"
    assert document["not_run"] == {
        "tensorrt": "evaluate runs torch and ONNX Runtime; edgeexport verify checks an engine against the same outputs"
    }


def test_incomplete_last_batch(tmp_path: Path, executed: list[tuple[str, int]]) -> None:
    data = write_pairs(tmp_path / "d", 5)
    single = evaluated(written_recipe(tmp_path, TINY_RECIPE), data=data, executions=("fixed",), out_dir=tmp_path / "1")
    assert executed == [("fixed", 1)] * 5
    executed.clear()
    text = TINY_RECIPE.replace("shape=(1,", "shape=(3,")
    together = evaluated(written_recipe(tmp_path, text, "batch"), data=data, out_dir=tmp_path / "3")
    assert [count for name, count in executed if name == "fixed"] == [3, 2]
    assert [count for name, count in executed if name == "adaptive"] == [1] * 5
    assert together.primary.scores == single.primary.scores


def damaged_data(folder: Path) -> Path:
    """Samples 01, 03, 04, 05, 06, 07 of 9 cannot be used."""
    data = write_pairs(folder, 9)
    (data / "annotations" / "01.png").unlink()
    (data / "images" / "03.png").write_bytes(b"no image")
    Image.fromarray(label_of(4, (64, 128))).save(data / "annotations" / "04.png")
    Image.fromarray(np.full((128, 128), NUM_CLASSES, np.uint8)).save(data / "annotations" / "05.png")
    Image.fromarray(label_of(6)).convert("RGB").save(data / "annotations" / "06.png")
    (data / "annotations" / "07.png").write_bytes(b"")
    return data


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    notes: list[str] = []
    recipe = written_recipe(tmp_path, TINY_RECIPE)
    found = evaluated(recipe, data=damaged_data(tmp_path / "d"), out_dir=tmp_path / "out", on_note=notes.append)
    assert found.primary.images == 3
    left_out = {entry["name"]: entry["problem"] for entry in document_of(found)["left_out"]}
    assert sorted(left_out) == ["01", "03", "04", "05", "06", "07"]
    assert "without annotation" in left_out["01"]
    assert "64 x 128" in left_out["04"]
    assert "label 6, expected 0 to 5" in left_out["05"]
    assert [note.split(":")[0] for note in notes] == ["random weights, seed 0"] + ["left out"] * 6
    assert "more" in notes[-1]

    clean = write_pairs(tmp_path / "clean", 9)
    for name in left_out:
        (clean / "images" / f"{name}.png").unlink()
        (clean / "annotations" / f"{name}.png").unlink()
    assert evaluated(recipe, data=clean, out_dir=tmp_path / "out2").primary.scores == found.primary.scores


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("stop", [0, 2, 4, 8])
def test_interrupted_evaluation_goes_on_with_the_same_result(
    stop: int, batch: int, tmp_path: Path, executed: list[tuple[str, int]]
) -> None:
    recipe = written_recipe(tmp_path, TINY_RECIPE.replace("shape=(1,", f"shape=({batch},"))
    data = damaged_data(tmp_path / "d")
    whole = evaluated(recipe, data=data, out_dir=tmp_path / "whole")
    all_calls, out = list(executed), tmp_path / "out"
    executed.clear()
    with pytest.raises(KeyboardInterrupt):
        evaluated(recipe, data=data, out_dir=out, on_progress=stopping_at(stop))
    assert not (out / "evaluation.json").exists()
    notes: list[str] = []
    resumed = evaluated(recipe, data=data, out_dir=out, on_note=notes.append)
    assert sorted(executed) == sorted(all_calls)
    assert (out / "evaluation.json").read_bytes() == whole.file.read_bytes()
    assert resumed.executions == whole.executions
    assert any("done by an earlier run" in note for note in notes) == bool(stop)
    assert sum("left out" in note for note in notes) == 6


def test_death_between_forms_and_inside_a_line(tmp_path: Path, executed: list[tuple[str, int]]) -> None:
    recipe = written_recipe(tmp_path, TINY_RECIPE.replace("shape=(1,", "shape=(2,"))
    data, out = write_pairs(tmp_path / "d", 4), tmp_path / "out"
    whole = evaluated(recipe, data=data, out_dir=out).file.read_bytes()
    lines = (out / "progress.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * 4
    for kept in range(1, len(lines)):
        (out / "progress.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:30])
        executed.clear()
        assert evaluated(recipe, data=data, out_dir=out).file.read_bytes() == whole
        measured = [json.loads(line) for line in lines[1:kept]]
        adaptive = sum(entry["form"] == "adaptive" for entry in measured)
        fixed = sum(entry["form"] == "fixed" for entry in measured)
        # A batch is executed whole, so that its images see the same neighbours as before.
        assert executed.count(("adaptive", 1)) == 4 - adaptive
        assert executed.count(("fixed", 2)) == 2 - fixed // 2


def test_finished_evaluation_is_not_repeated_but_on_demand(tmp_path: Path, executed: list[tuple[str, int]]) -> None:
    recipe, data, out = written_recipe(tmp_path, TINY_RECIPE), write_pairs(tmp_path / "d", 3), tmp_path / "out"
    first = evaluated(recipe, data=data, executions=("fixed",), out_dir=out)
    executed.clear()
    assert evaluated(recipe, data=data, executions=("fixed",), out_dir=out).executions == first.executions
    assert evaluated(recipe, data=data, executions=("fixed",), limit=2, out_dir=out).primary.images == 2
    assert executed == []
    both = evaluated(recipe, data=data, out_dir=out)
    assert executed == [("adaptive", 1)] * 3
    assert both.executions["fixed"] == first.executions["fixed"]
    executed.clear()
    evaluated(recipe, data=data, executions=("fixed",), out_dir=out, restart=True)
    assert executed == [("fixed", 1)] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cfg_options": ("seed=7",)}, "another model than before"),
        ({"reduce_zero_label": True}, "another set of options than before"),
        ({"thresholds": {2: 0.1, 3: 0.1}}, "another set of options than before"),
    ],
)
def test_another_model_or_option_begins_anew_and_says_so(
    change: dict, words: str, tmp_path: Path, executed: list[tuple[str, int]]
) -> None:
    recipe, data, out = written_recipe(tmp_path, TINY_RECIPE), write_pairs(tmp_path / "d", 2), tmp_path / "out"
    evaluated(recipe, data=data, out_dir=out)
    executed.clear()
    notes: list[str] = []
    found = evaluated(recipe, data=data, out_dir=out, on_note=notes.append, **change)
    assert any(words in note and "begins anew" in note for note in notes)
    assert len(executed) == 4
    fresh = evaluated(recipe, data=data, out_dir=tmp_path / "fresh", **change)
    assert found.executions == fresh.executions


def test_another_data_set_begins_anew(tmp_path: Path, executed: list[tuple[str, int]]) -> None:
    recipe, out = written_recipe(tmp_path, TINY_RECIPE), tmp_path / "out"
    evaluated(recipe, data=write_pairs(tmp_path / "a", 2), executions=("fixed",), out_dir=out)
    executed.clear()
    notes: list[str] = []
    data = write_pairs(tmp_path / "b", 3, size=(128, 96))
    assert evaluated(recipe, data=data, executions=("fixed",), out_dir=out, on_note=notes.append).primary.images == 3
    assert len(executed) == 3
    assert any("another data set than before" in note for note in notes)


@pytest.mark.parametrize("module", ["inputs/photos.py", "pictures/predictor.py", "pictures/label_map.py"])
def test_another_program_begins_anew(
    module: str, tmp_path: Path, executed: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted evaluation does not add its figures up with those of another resize filter."""
    package = tmp_path / "edgeexport"
    shutil.copytree(source_hash._PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source_hash, "_PACKAGE", package)
    recipe, data, out = written_recipe(tmp_path, TINY_RECIPE), write_pairs(tmp_path / "d", 3), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        evaluated(recipe, data=data, executions=("fixed",), out_dir=out, on_progress=stopping_at(2))
    assert executed == [("fixed", 1)] * 2
    text = (package / module).read_bytes()
    (package / module).write_bytes(text.replace(b"BILINEAR", b"BICUBIC!", 1) if b"BILINEAR" in text else text + b"\n")
    executed.clear()
    notes: list[str] = []
    evaluated(recipe, data=data, executions=("fixed",), out_dir=out, on_note=notes.append)
    assert executed == [("fixed", 1)] * 3
    assert any("another program than before, so the evaluation begins anew" in note for note in notes)


def test_zero_label_is_reduced(tmp_path: Path) -> None:
    recipe, data = written_recipe(tmp_path, TINY_RECIPE), write_pairs(tmp_path / "d", 2)
    plain = evaluated(recipe, data=data, executions=("fixed",), out_dir=tmp_path / "plain")
    for path in (data / "annotations").iterdir():
        label = np.asarray(Image.open(path)).astype(int)
        Image.fromarray(np.where(label == 255, 0, label + 1).astype(np.uint8)).save(path)
    reduced = evaluated(recipe, data=data, executions=("fixed",), out_dir=tmp_path / "r", reduce_zero_label=True)
    assert reduced.primary.scores == plain.primary.scores
    with pytest.raises(UsageError, match="--reduce-zero-label"):
        one = tmp_path / "one"
        write_pairs(one, 1, num_classes=7)
        evaluated(recipe, data=one, executions=("fixed",), out_dir=tmp_path / "o")


def test_progress_counts_every_sample_once(tmp_path: Path) -> None:
    recipe = written_recipe(tmp_path, TINY_RECIPE.replace("shape=(1,", "shape=(2,"))
    seen: list[tuple[int, int, str]] = []
    evaluated(
        recipe,
        data=damaged_data(tmp_path / "d"),
        executions=("fixed",),
        out_dir=tmp_path / "out",
        on_progress=lambda *step: seen.append(step),
    )
    assert seen == [(0, 8, ""), (2, 8, "02"), (8, 8, "08"), (8, 8, "")]


@pytest.mark.parametrize("resumed", [False, True])
def test_nothing_usable_is_an_error(resumed: bool, tmp_path: Path) -> None:
    recipe, data, out = written_recipe(tmp_path, TINY_RECIPE), write_pairs(tmp_path / "d", 2), tmp_path / "out"
    for path in (data / "images").iterdir():
        path.write_bytes(b"no image")
    for _ in range(1 + resumed):
        with pytest.raises(UsageError, match=r"none of 2 images can be used; 00: cannot be read"):
            evaluated(recipe, data=data, out_dir=out)
    assert not (out / "evaluation.json").exists()


def test_folders_and_files_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, data = written_recipe(tmp_path, TINY_RECIPE), write_pairs(tmp_path / "d", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="another --out-dir"):
        evaluated(recipe, data=data, out_dir=tmp_path / "file")

    def full(self: ProgressFile, entries: object) -> None:
        raise UsageError("progress.jsonl", "the disk is full", "")

    monkeypatch.setattr(ProgressFile, "append", full)
    with pytest.raises(UsageError, match="the disk is full"):
        evaluated(recipe, data=data, out_dir=tmp_path / "out")
