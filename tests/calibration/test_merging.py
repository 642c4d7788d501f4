"""Methods that merge, calibrated: against trying every r, the floor at equal work, the recipe written, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from shared_cases import CommandResult

from edgeexport.calibration.merging import MergingCalibration, calibrate_merging
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.commands.evaluate_against import evaluate_against
from edgeexport.errors import UsageError
from edgeexport.evaluation.against import AgainstOptions
from edgeexport.evaluation.fidelity_result import Fidelity
from edgeexport.evaluation.interval import mean_interval
from edgeexport.fixed.tokens import account
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe import load_recipe

Command = Callable[..., CommandResult]

RECIPE = '''"""Small."""

model = dict(type="timm", img_size=(32, 32), patch_size=8, embed_dim=24, depth={depth}, num_heads=2, num_classes={classes})
input = dict(shape=(4, 3, 32, 32))
output = "{output}"
'''
PHOTOS = shipped_photos()[0].parent


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(RECIPE.format(depth=2, classes=0, output="features"))
    return path


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.py"
    path.write_text(RECIPE.format(depth=4, classes=3, output="logits"))
    return path


def beside_dense(recipe: Path, folder: Path, reduction: Mapping[str, object], data: Path = PHOTOS) -> Fidelity:
    """What `evaluate --against dense` finds, by itself."""
    given = [f"reduction.{method}={value!r}" for method, value in reduction.items()]
    return evaluate_against(recipe, "dense", AgainstOptions(data, out_dir=folder), cfg_options=tuple(given))


def low_end(fidelity: Fidelity) -> float:
    """The lowest end of the intervals of all cosines."""
    return min(figure.interval.low for figure in fidelity.figures.values() if figure.interval is not None)


def calibrated(recipe: Path, folder: Path, **options: object) -> MergingCalibration:
    given = {"data": PHOTOS, "out_dir": folder, **options}
    return calibrate_merging(recipe, CalibrationOptions(**given))  # type: ignore[arg-type]


def test_the_largest_r_that_holds_and_the_others_at_equal_work(recipe: Path, tmp_path: Path) -> None:
    every = {r: beside_dense(recipe, tmp_path / f"e{r}", {"tome": {"r": r}}) for r in range(1, 8)}
    ends = [low_end(fidelity) for fidelity in every.values()]
    assert ends == sorted(ends, reverse=True)  # what the search by halving rests on
    bound = (ends[3] + ends[4]) / 2  # between r = 4 and r = 5
    found = calibrated(recipe, tmp_path / "out", min_cosine=bound)
    best = {item.method: item for item in found.largest}
    assert best["tome"].r == 4 and best["tome"].macs == every[4].macs and best["tome"].holds(found.request)
    assert found.chosen is min(found.largest, key=lambda item: item.macs)
    assert {item.method for item in found.equal} == {"tome", "dsm", "random"} - {found.chosen.method}
    floor = next(item for item in found.equal if item.method == "random")
    lists = [(r, r) for r in range(1, 9)] + [(r + 1, r) for r in range(1, 8)]
    works = [account(load_recipe(recipe, (f"reduction.random.r=[{a}, {b}]",))).reduced.total for a, b in lists]
    assert abs(floor.macs - found.chosen.macs) == min(abs(work - found.chosen.macs) for work in works)
    floor_by_image = beside_dense(recipe, tmp_path / "f", {"random": floor.setting.reduction(floor.r)})
    own_by_image = beside_dense(
        recipe, tmp_path / "g", {found.chosen.method: found.chosen.setting.reduction(found.chosen.r)}
    )
    pairs = zip(own_by_image.measured, floor_by_image.measured, strict=True)
    interval = mean_interval([own.figures["patch tokens"] - other.figures["patch tokens"] for own, other in pairs])
    assert min(floor.cosines, key=lambda name: floor.cosines[name].interval.low) == "patch tokens"
    assert found.beats_floor == (interval.low > 0)
    assert {item.setting.delay for item in found.compared} == {0, 1}  # of two blocks; 0 with windows alone
    assert json.loads(found.file.read_text()) == json.loads(json.dumps(found.as_dict()))


def test_the_recipe_written_is_what_was_measured_and_says_what_was_not_tried(recipe: Path, tmp_path: Path) -> None:
    budget = account(load_recipe(recipe, ("reduction.tome.r=5",))).reduced.total
    found = calibrated(recipe, tmp_path / "out", macs=float(budget))
    chosen = found.chosen
    assert chosen is not None and found.recipe_file is not None and all(item.macs <= budget for item in found.compared)
    assert {item.setting.name for item in found.compared} >= {"tome", "dsm delay=0 window=4"}
    best = max(found.compared, key=lambda item: min(figure.mean for figure in item.cosines.values()))
    assert chosen.quality(found.request) == best.quality(found.request)
    written = load_recipe(found.recipe_file)
    assert account(written).reduced.total == chosen.macs and list(written.reductions) == [chosen.method]
    again = evaluate_against(found.recipe_file, "dense", AgainstOptions(PHOTOS, out_dir=tmp_path / "again"))
    assert again.figures["patch tokens"] == chosen.cosines["patch tokens"]
    text = " ".join(found.recipe_file.read_text().split())
    assert "Not tried: Delays other than 0, 1," in text and f"--macs {budget:g}" in text and "on 4 images" in text


def test_a_drop_is_told_by_class_folders_where_they_fit_and_by_agreement_elsewhere(
    classifier: Path, tmp_path: Path
) -> None:
    labelled = tmp_path / "labelled"
    for number, photo in enumerate(shipped_photos()):
        (labelled / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (labelled / str(number % 3) / photo.name).write_bytes(photo.read_bytes())
    found = calibrated(classifier, tmp_path / "a", max_drop=40.0, data=labelled)
    assert found.drop_of.startswith("top-1: images whose folder's class") and found.chosen is not None
    for item in found.tried:
        reduction = {item.method: item.setting.reduction(item.r)}
        against = beside_dense(classifier, tmp_path / "x", reduction, labelled)
        assert item.drop.figure.mean == -against.accuracy["top-1"].difference.mean
    assert found.chosen.drop.figure.mean <= 40
    found = calibrated(classifier, tmp_path / "b", max_drop=40.0)
    assert found.drop_of.startswith("agreement: images whose most probable class is the dense model's")
    for item in found.tried:
        assert item.drop.figure.mean in (0, 25, 50, 75, 100)  # of four images
        assert item.drop.low <= item.drop.figure.mean <= item.drop.high and item.drop.high > 60


def test_no_method_holds_a_bound_that_is_out_of_reach(edgeexport: Command, recipe: Path, tmp_path: Path) -> None:
    line = ("calibrate", recipe, "--data", PHOTOS, "--out-dir", tmp_path / "o", "--limit", 2)
    result = edgeexport(*line, "--min-cosine", 0.9999999)
    assert result.code == 0 and "No method keeps --min-cosine 1 and saves work" in result.out
    assert not (tmp_path / "o" / "small_merged.py").exists()


def test_the_dense_model_may_fit_a_budget(recipe: Path, tmp_path: Path) -> None:
    found = calibrated(recipe, tmp_path / "out", macs=1e12)
    assert (
        found.chosen is None and found.tried == () and found.statement == "The dense model fits --macs 1000e9 as it is."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_cosine": 0.9, "coverage": 0.9}, "--coverage | is not for --min-cosine"),
        ({"min_cosine": 0.9, "macs": 1e9}, "found --min-cosine and --macs"),
        ({"min_cosine": 1.5}, "--min-cosine 1.5 | expected a cosine above 0 and below 1"),
        ({"max_drop": -1.0}, "--max-drop -1 | expected percentage points above 0"),
        ({"max_drop": 1.0}, "gives no classes, and the images lie in no folders of classes"),
        ({"macs": 1.0}, "--macs 1 | is below what any merging comes to"),
        ({"latency_ms": 1.0}, "--latency-ms | needs --latency-table"),
        ({"macs": 1e9, "latency_table": Path("t.json")}, "--latency-table t.json | is for --latency-ms"),
        ({"min_cosine": 0.9, "data": None}, "--data | is missing"),
        ({"min_cosine": 0.9, "cfg_options": ("reduction.tome.r=2",)}, "has a reduction already, tome"),
    ],
)
def test_requests_that_do_not_fit(options: dict[str, object], message: str, recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        calibrated(recipe, tmp_path / "out", **options)
    assert message in str(caught.value)
