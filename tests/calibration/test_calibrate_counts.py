"""`edgeexport calibrate` for counts: every method from a folder of images to a recipe that loads, interruptions, bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from observation_cases import counts_calibrated
from PIL import Image
from shared_cases import TINY_RECIPE, CommandResult

from edgeexport.bundle import source_hash
from edgeexport.calibration.calibrate_counts import CountsCalibration
from edgeexport.errors import UsageError
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.inputs.photos import input_from_photo, open_photo, shipped_photos
from edgeexport.recipe import load_recipe

Command = Callable[..., CommandResult]
IMAGES, SIDE, CLASSES = 5, 128, 6


def write_folder(folder: Path, count: int = IMAGES, seed: int = 3) -> Path:
    """Cuts of the shipped photographs, with labels in blocks."""
    draw = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    photos = [open_photo(path) for path in shipped_photos()]
    for number in range(count):
        photo = photos[number % len(photos)]
        left, top = (int(draw.integers(0, side - SIDE)) for side in photo.size)
        photo.crop((left, top, left + SIDE, top + SIDE)).save(folder / "images" / f"{number}.png")
        label = np.kron(draw.integers(0, CLASSES, size=(4, 4)), np.ones((32, 32), dtype=np.int64))
        Image.fromarray(label.astype(np.uint8)).save(folder / "annotations" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stage, after block 3 of 4; random weights."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.py"
    path.write_text(TINY_RECIPE.replace("{2: 16, 3: 8}", "{3: 8}"))
    return path


@pytest.fixture(scope="module")
def theta(data: Path, recipe: Path) -> float:
    """Between the confidences that the random model has."""
    model = published_model(recipe)
    image = torch.from_numpy(input_from_photo(open_photo(data / "images" / "0.png"), model.recipe.input))[None]
    confidence = model.run([image], [{"dtop": {3: 2.0}}], upsample=False)[0].stages[3].confidence
    return round(float(confidence.quantile(0.4)), 6)


@pytest.fixture(scope="module")
def covered(data: Path, recipe: Path, theta: float, tmp_path_factory: pytest.TempPathFactory) -> CountsCalibration:
    return counts_calibrated(recipe, data=data, coverage=0.8, threshold=theta, out_dir=tmp_path_factory.mktemp("out"))


def published_model(recipe: Path) -> PublishedModel:
    loaded = load_recipe(recipe)
    return PublishedModel(model_from_recipe(loaded)[0], loaded)


def test_coverage_is_the_count_that_the_adaptive_form_reaches(
    data: Path, recipe: Path, theta: float, covered: CountsCalibration
) -> None:
    model = published_model(recipe)
    pruned = []
    for number in range(IMAGES):
        photo = open_photo(data / "images" / f"{number}.png")
        image = torch.from_numpy(input_from_photo(photo, model.recipe.input))[None]
        pruned.append(model.run([image], [{"dtop": {3: theta}}])[0].outputs["pruned_tokens_3"].numel())
    most = sorted(pruned, reverse=True)[3]  # 4 of 5 images reach it
    proposal = covered.outcome.proposal
    assert most >= 8, "the case has something to prune"
    assert proposal.chosen.counts.prune == ((3, most - most % 8),)
    assert proposal.exact is not None
    assert proposal.exact.counts.prune == ((3, most),)
    assert covered.outcome.constants[0].available == tuple(pruned)
    assert proposal.coverage is not None
    assert proposal.coverage.together == sum(count >= most - most % 8 for count in pruned)


def test_the_recipe_that_is_written_builds_what_was_proposed(covered: CountsCalibration, recipe: Path) -> None:
    written, base = load_recipe(covered.files.recipe), load_recipe(recipe)
    proposal = covered.outcome.proposal
    assert list(written.reductions) == ["dtop"]
    assert written.reductions["dtop"].prune == proposal.proposed.counts.prune
    assert (written.model, written.input, written.checkpoint) == (base.model, base.input, base.checkpoint)
    assert proposal.worth
    assert f"on {IMAGES} images" in covered.files.recipe.read_text().replace("\n", " ")


def test_evidence_says_what_it_rests_on(covered: CountsCalibration, theta: float) -> None:
    document = json.loads(covered.files.evidence.read_text())
    assert document["schema"] == "edgeexport.calibration/1"
    assert document["provenance"] == "measured"
    assert document["weights"]["statement"] == "random weights, seed 0: predictions mean nothing"
    assert document["thresholds"] == {"3": theta}
    assert len(document["data"]["content_sha256"]) == 64
    proposal = document["proposal"]
    assert proposal["images"] == IMAGES
    assert proposal["coverage_interval"]["images"] == IMAGES
    assert (
        proposal["loss_interval"]["low"]
        <= proposal["dense_quality"] - proposal["quality"]
        <= proposal["loss_interval"]["high"]
    )
    for kind in ("adaptive", "fixed"):
        images = document["observations"][kind]
        assert [image["name"] for image in images] == [str(number) for number in range(IMAGES)]
        assert images[0]["stages"][0].keys() >= {"tokens", "protected", "prunable", "confidence_quantiles"}
    assert document["exits"][0]["images"] == IMAGES
    assert document["pareto"][0].keys() == {"num_shared", "prune", "cost", "quality"}
    assert proposal["forms"]["adaptive_at_equal_mean"]["gain_interval"]["images"] == IMAGES
    assert "random" in proposal["statement"]
    for plot in (covered.files.counts, covered.files.quality, covered.files.exits):
        assert plot is not None
        with Image.open(plot) as picture:
            assert picture.width > 600
    assert "observations" not in covered.as_dict()


def test_equal_mean_thresholds_prune_as_many(covered: CountsCalibration) -> None:
    """The adaptive form beside the fixed one has its mean tokens, to within a token."""
    proposal = covered.outcome.proposal
    assert proposal.equal_mean is not None
    left = proposal.equal_mean.tokens[-1]
    assert left == pytest.approx(proposal.chosen.tokens[-1], abs=1.0)
    assert proposal.equal_mean.macs == pytest.approx(proposal.chosen.macs, rel=0.03)


def test_an_allowed_drop_gives_the_cheapest_within(data: Path, recipe: Path, tmp_path: Path) -> None:
    found = counts_calibrated(recipe, data=data, max_miou_drop=100.0, out_dir=tmp_path)
    assert found.outcome.proposal.chosen.counts.prune == ((3, 56),), "everything is within 100 points"
    assert found.outcome.limit is not None
    strict = counts_calibrated(recipe, data=data, max_miou_drop=0.0, out_dir=tmp_path).outcome
    dense, chosen = strict.proposal.dense, strict.proposal.chosen
    assert dense.quality is not None and chosen.quality is not None
    assert chosen.quality >= dense.quality
    good = [item for item in strict.evaluated if item.quality >= dense.quality and item.counts.tokens(64)[-1] % 8 == 0]
    assert chosen.cost == min(item.cost for item in good)


def test_a_budget_is_kept(data: Path, recipe: Path, tmp_path: Path) -> None:
    dense = counts_calibrated(recipe, data=data, macs=1e12, out_dir=tmp_path).outcome.proposal
    assert not dense.worth
    assert "which is within the budget" in dense.statement
    assert load_recipe(tmp_path / "tiny_calibrated.py").reductions == {}
    budget = 0.9 * dense.dense.macs
    found = counts_calibrated(recipe, data=data, macs=budget, out_dir=tmp_path).outcome.proposal
    assert found.worth
    assert found.chosen.macs <= budget
    assert found.exact is not None
    assert found.exact.macs <= budget
    with pytest.raises(UsageError, match=r"--macs 1000 \| the cheapest of 8 sets of counts takes"):
        counts_calibrated(recipe, data=data, macs=1000.0, out_dir=tmp_path)


def test_a_latency_table_decides_in_milliseconds(data: Path, recipe: Path, tmp_path: Path) -> None:
    table = {
        "schema": "edgeexport.latency_table/1",
        "provenance": "measured",
        "device": "a board",
        "block_ms": {"8": 1.0, "64": 8.0},
        "head_ms": {"8": 0.1, "64": 0.2},
        "policy_ms": None,
        "fixed_ms": 0.5,
    }
    (tmp_path / "table.json").write_text(json.dumps(table))
    found = counts_calibrated(
        recipe, data=data, latency_ms=30.0, latency_table=tmp_path / "table.json", out_dir=tmp_path
    ).outcome.proposal
    assert found.dense.cost == pytest.approx(4 * 8.0 + 0.2 + 0.5)
    left = found.chosen.tokens[-1]
    assert found.chosen.cost == pytest.approx(3 * 8.0 + left / 8 + 0.2 + (0.1 + 0.1 * (left - 8) / 56) + 0.5)
    assert found.chosen.cost <= 30.0
    assert "measured on a board" in found.statement
    assert found.unit == "ms"


def test_photographs_without_labels_are_compared_with_the_dense_model(
    data: Path, recipe: Path, theta: float, tmp_path: Path
) -> None:
    found = counts_calibrated(recipe, data=data / "images", coverage=0.8, threshold=theta, out_dir=tmp_path)
    proposal = found.outcome.proposal
    assert proposal.measure == "agreement"
    assert proposal.dense.quality == 100.0
    assert "mIoU" not in proposal.statement
    assert found.files.exits is None
    assert proposal.equal_mean is None


def test_the_dense_model_wins_where_the_policy_network_costs_more(
    data: Path, recipe: Path, tmp_path: Path, edgeexport: Command
) -> None:
    """The policy network takes more than this tiny model as a whole."""
    shares = tmp_path / "shares.py"
    shares.write_text(TINY_RECIPE.replace("dtop=dict(prune={2: 16, 3: 8})", "cts=dict(num_shared=8)"))
    done = edgeexport("calibrate", shares, "--data", data, "--max-miou-drop", 100, "--out-dir", tmp_path / "out")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "The dense model wins: none of 2 sets of counts costs less" in said
    written = load_recipe(tmp_path / "out" / "shares_calibrated.py")
    assert written.reductions == {}
    assert "which wins" in written.description


def test_an_interrupted_calibration_goes_on_with_the_same_result(
    data: Path, recipe: Path, theta: float, covered: CountsCalibration, tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def count(found: list[str]) -> Callable[[int, int, str], None]:
        return lambda done, total, task: found.append(task) if done else None

    def run(stop_after: int) -> tuple[int, list[str]]:
        seen: list[str] = []
        notes: list[str] = []

        def on_progress(done: int, total: int, task: str) -> None:
            count(seen)(done, total, task)
            if len(seen) == stop_after:
                raise Stopped

        with suppress(Stopped):
            counts_calibrated(
                recipe,
                data=data,
                coverage=0.8,
                threshold=theta,
                out_dir=tmp_path,
                on_progress=on_progress,
                on_note=notes.append,
            )
        return len(seen), notes

    run(3)
    run(14)
    images, notes = run(10_000)
    assert any("results of an earlier run are used" in note for note in notes)
    first, again = covered.files.evidence.read_text(), (tmp_path / "calibration.json").read_text()
    assert first == again
    finished, _ = run(10_000)
    assert finished < images, "nothing is computed a second time"


def test_other_thresholds_use_the_same_observations_and_other_weights_do_not(
    data: Path, recipe: Path, theta: float, tmp_path: Path
) -> None:
    notes: list[str] = []

    def run(*options: str) -> None:
        notes.clear()
        counts_calibrated(
            recipe,
            data=data,
            max_miou_drop=50.0,
            threshold=theta,
            limit=2,
            cfg_options=tuple(options),
            out_dir=tmp_path,
            on_note=notes.append,
        )

    run()
    run("reduction.dtop.prune={3: 16}")
    assert any("results of an earlier run" in note for note in notes)
    run("seed=1")
    assert any("another weights file" in note and "begins anew" in note for note in notes)


def test_observations_of_another_program_are_not_used(
    data: Path, recipe: Path, theta: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "edgeexport"
    shutil.copytree(source_hash._PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source_hash, "_PACKAGE", package)
    notes: list[str] = []

    def run() -> None:
        notes.clear()
        counts_calibrated(
            recipe, data=data, coverage=0.8, threshold=theta, limit=2, out_dir=tmp_path / "out", on_note=notes.append
        )

    run()
    run()
    assert any("results of an earlier run are used" in note for note in notes)
    with (package / "inputs" / "photos.py").open("a") as stream:
        stream.write("\n")
    run()
    assert any("another program than before, so the calibration begins anew" in note for note in notes)
    assert not any("results of an earlier run" in note for note in notes)


def test_what_the_command_line_changed_is_in_the_recipe(data: Path, recipe: Path, theta: float, tmp_path: Path) -> None:
    options = [
        "model.backbone.num_layers=5",
        "model.auxiliary_head.1.thresh=0.5",
        "model.backbone.out_indices=(1, 2, 4)",
    ]
    found = counts_calibrated(
        recipe, data=data, macs=1e12, limit=2, cfg_options=tuple(options), out_dir=tmp_path / "deep" / "out"
    )
    assert load_recipe(found.files.recipe).model == load_recipe(recipe, options).model


def test_images_that_cannot_be_used_are_named_and_the_rest_go_on(
    recipe: Path, theta: float, tmp_path: Path, edgeexport: Command
) -> None:
    folder = write_folder(tmp_path / "data", 7)
    (folder / "annotations" / "0.png").unlink()
    (folder / "images" / "1.png").write_bytes(b"no image")
    Image.new("L", (64, 64)).save(folder / "annotations" / "2.png")
    Image.new("L", (SIDE, SIDE), 77).save(folder / "annotations" / "3.png")
    done = edgeexport(
        "calibrate", recipe, "--data", folder, "--coverage", 1, "--threshold", theta, "--out-dir", tmp_path / "out"
    )
    assert done.code == 0, done.err
    for number, problem in enumerate(("image without annotation", "cannot be read", "64 x 64", "77")):
        assert f"left out: {number}: " in done.err
        assert problem in done.err
    assert "Left out: 4." in " ".join(done.out.split())
    document = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert document["proposal"]["images"] == 3
    assert [item["name"] for item in document["left_out"]] == ["0", "1", "2", "3"]


def test_json_is_all_that_standard_output_holds(
    data: Path, recipe: Path, theta: float, tmp_path: Path, edgeexport: Command
) -> None:
    arguments = ("--data", data, "--coverage", 0.8, "--threshold", theta, "--limit", 2, "--out-dir", tmp_path)
    document = json.loads(edgeexport("calibrate", recipe, *arguments, "--json").out)
    assert document["proposal"]["method"] == "coverage"
    assert document["files"]["recipe"] == str(tmp_path / "tiny_calibrated.py")
    shown = edgeexport("calibrate", recipe, *arguments)
    for wanted in ("tiny: --coverage 0.8", "aligned to 8", "after block 3", "tiny_calibrated.py"):
        assert wanted in shown.out
    assert "results of an earlier run are used" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected one thing to calibrate for, found none"),
        (("--coverage", 0.9, "--macs", 1e9), "found --coverage and --macs"),
        (("--coverage", 0), "expected a share of the images"),
        (("--coverage", 1.01), "expected a share of the images"),
        (("--coverage", "nan"), "expected a share of the images"),
        (("--max-miou-drop", -0.1), "expected points of mIoU"),
        (("--macs", 0), "expected multiply-accumulates"),
        (("--latency-ms", 5), "needs --latency-table"),
        (("--macs", 1e9, "--latency-table", "t.json"), "is for --latency-ms"),
        (("--latency-ms", 5, "--latency-table", "nowhere.json"), "nowhere.json | cannot be read"),
        (("--coverage", 0.9, "--threshold", 1), "expected a confidence from 0 to below 1"),
        (("--coverage", 0.9, "--limit", 0), "uses no image"),
        (("--coverage", 0.9, "--split", "val"), "has no such subfolder"),
        (("--delay", "--coverage", 0.9), "--coverage | is not for --delay"),
    ],
)
def test_bad_requests(
    data: Path, recipe: Path, tmp_path: Path, edgeexport: Command, arguments: tuple[object, ...], message: str
) -> None:
    done = edgeexport("calibrate", recipe, "--data", data, *arguments, "--out-dir", tmp_path / "out")
    assert done.code == 2, done.out
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_recipes_and_folders_that_do_not_fit(recipe: Path, data: Path, tmp_path: Path, edgeexport: Command) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    no_threshold = tmp_path / "no_threshold.py"
    no_threshold.write_text(TINY_RECIPE.replace("thresh=0.9", "thresh=1.0"))
    drawn_exits, drawn_merges = tmp_path / "drawn_exits.py", tmp_path / "drawn_merges.py"
    drawn_exits.write_text(TINY_RECIPE.replace("dtop=dict(prune=", "random=dict(prune="))
    drawn_merges.write_text(TINY_RECIPE.replace("dtop=dict(prune={2: 16, 3: 8})", "random=dict(r=12)"))
    for subject, folder, options, message in (
        ("tome_deit_s.py", data, ("--coverage", 0.9), "needs a SegViT with auxiliary heads or CTS, found model.type"),
        (
            "tome_segvit.py",
            data,
            ("--coverage", 0.9),
            "needs a SegViT with auxiliary heads or CTS, found reduction.tome",
        ),
        ("segvit_ti_atm.py", data, ("--coverage", 0.9), "no counts to choose"),
        (drawn_merges, data, ("--coverage", 0.9), "needs a SegViT with auxiliary heads or CTS, found reduction.random"),
        (drawn_exits, data, ("--macs", 1e9), "needs a SegViT with auxiliary heads or CTS, found reduction.random"),
        (no_threshold, data, ("--coverage", 0.9), "states no thresh below 1 for the head after block 2"),
        (recipe, empty, ("--coverage", 0.9), "empty"),
        (recipe, tmp_path / "nowhere", ("--coverage", 0.9), "no such folder"),
        (recipe, data / "images", ("--max-miou-drop", 1), "is the folder of the images"),
    ):
        done = edgeexport("calibrate", subject, "--data", folder, *options, "--out-dir", tmp_path / "out")
        assert done.code == 2, subject
        assert message in done.err, done.err
        assert not (tmp_path / "out").exists()
    assert "found no --data" in edgeexport("calibrate", recipe, "--coverage", 0.9).err
