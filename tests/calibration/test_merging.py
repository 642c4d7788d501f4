"""``calibrate --min-cosine``: the largest r by trying every one, the floor at equal work, and requests that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_cases import CommandResult

from edgeexport.calibration.merging import calibrate_merging
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.commands.evaluate_against import evaluate_against
from edgeexport.errors import UsageError
from edgeexport.evaluation.against import AgainstOptions
from edgeexport.inputs.photos import shipped_photos

Command = Callable[..., CommandResult]

RECIPE = '''"""Small."""

model = dict(type="timm", img_size=(32, 32), patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=0)
input = dict(shape=(4, 3, 32, 32))
output = "features"
'''
PHOTOS = shipped_photos()[0].parent


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(RECIPE)
    return path


def low_end(recipe: Path, method: str, r: int, folder: Path) -> tuple[float, int]:
    """The lowest end of the intervals of all cosines, and the work."""
    options = AgainstOptions(PHOTOS, out_dir=folder / f"{method}{r}")
    found = evaluate_against(recipe, "dense", options, cfg_options=(f"reduction.{method}.r={r}",))
    ends = [figure.interval.low for figure in found.figures.values() if figure.interval is not None]
    return min(ends), found.macs


def test_the_largest_r_that_holds_and_the_others_at_equal_work(recipe: Path, tmp_path: Path) -> None:
    every = {r: low_end(recipe, "tome", r, tmp_path / "every") for r in range(1, 8)}
    ends = [end for end, _ in every.values()]
    assert ends == sorted(ends, reverse=True)  # what the search by halving rests on
    bound = (ends[3] + ends[4]) / 2  # between r = 4 and r = 5
    found = calibrate_merging(recipe, CalibrationOptions(data=PHOTOS, out_dir=tmp_path / "out"), bound)
    best = {item.method: item for item in found.largest}
    assert best["tome"].r == 4 and best["tome"].macs == every[4][1] and best["tome"].holds(bound)
    assert found.chosen is min(found.largest, key=lambda item: item.macs)
    assert {item.method for item in found.equal} == {"tome", "dsm", "random"} - {found.chosen.method}
    floor = next(item for item in found.equal if item.method == "random")
    works = {r: low_end(recipe, "random", r, tmp_path / "every")[1] for r in range(1, 8)}
    assert abs(floor.macs - found.chosen.macs) == min(abs(work - found.chosen.macs) for work in works.values())
    assert found.beats_floor == (found.chosen.worst.interval.low > floor.worst.interval.high)
    assert len(found.tried) < 12 and json.loads(found.file.read_text()) == json.loads(json.dumps(found.as_dict()))


def test_no_method_holds_a_bound_that_is_out_of_reach(edgeexport: Command, recipe: Path, tmp_path: Path) -> None:
    line = ("calibrate", recipe, "--data", PHOTOS, "--out-dir", tmp_path / "o", "--limit", 2)
    result = edgeexport(*line, "--min-cosine", 0.9999999)
    assert result.code == 0 and "no method holds 0.9999999 and saves work" in result.out


@pytest.mark.parametrize(
    ("options", "bound", "message"),
    [
        ({"data": PHOTOS, "coverage": 0.9}, 0.9, "--coverage | is not for --min-cosine"),
        ({"data": PHOTOS}, 1.5, "--min-cosine 1.5 | expected a cosine above 0 and below 1"),
        ({}, 0.9, "--data | is missing"),
        ({"data": PHOTOS, "cfg_options": ("reduction.tome.r=2",)}, 0.9, "has a reduction already, tome"),
    ],
)
def test_requests_that_do_not_fit(options: dict[str, object], bound: float, message: str, recipe: Path) -> None:
    with pytest.raises(UsageError) as caught:
        calibrate_merging(recipe, CalibrationOptions(**options), bound)  # type: ignore[arg-type]
    assert message in str(caught.value)
