"""A recipe's own reductions as ways, and an ONNX file as the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx_file_cases import exported

from edgeexport.fixed.schedule import dense_recipe, token_schedule
from edgeexport.fixed.tokens import account
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe import load_recipe
from edgeexport.tune.bounds import TuneOptions
from edgeexport.tune.form import recipe_of_form
from edgeexport.tune.own_ways import own_forms, own_ladder
from edgeexport.tune.tune import tune

PHOTOS = shipped_photos()[0].parent


def macs(recipe: object) -> float:
    return float(account(recipe).reduced.total)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("scenes_cts_dtop", ["own cts+dtop", "own cts", "own dtop"]),
        ("scenes_segmenter_algm", ["own algm"]),
        ("tome_deit_s", ["own tome"]),
        ("scenes_dense", []),
    ],
)
def test_ways_of_a_recipe(name: str, ways: list[str]) -> None:
    given = load_recipe(name)
    forms, dense = own_forms(given), dense_recipe(given)
    assert list(forms) == ways
    for way, form in forms.items():
        if "+" in way or len(forms) == 1:  # at its own counts it is the recipe
            assert token_schedule(recipe_of_form(dense, form)).blocks == token_schedule(given).blocks
        ladder = own_ladder(dense, form, macs)
        costs = [step.cost for step in ladder.steps]
        assert len(costs) > 2 and costs == sorted(costs, reverse=True)
        assert len({step.form.reduction for step in ladder.every}) == len(ladder.every)


def test_a_segmenter_with_its_heads(tiny_recipe: Path, tmp_path: Path) -> None:
    given = TuneOptions(data=PHOTOS, target="cpu", max_drop=60.0, trials=6, out_dir=tmp_path / "o", methods=("dtop",))
    result = tune(tiny_recipe, given)
    assert [ladder.way for ladder in result.ladders] == ["own dtop"]
    assert not result.dense_wins and result.chosen.kept.drop.measure == "pixel agreement"
    assert result.chosen.kept.drop.figure.mean <= 60
    written = load_recipe(result.recipe_file)
    assert list(written.reductions) == ["dtop"] and account(written).reduced.total == result.chosen.macs
    assert result.floor.form.config == {"random": {"prune": result.chosen.form.config["dtop"]["prune"]}}


def test_an_onnx_file(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", "tokens")
    result = tune(path, TuneOptions(data=PHOTOS, target="cpu", min_cosine=0.9, trials=4, out_dir=tmp_path / "o"))
    assert not result.dense_wins and result.weights["origin"] == "checkpoint"
    written = load_recipe(result.recipe_file)
    assert account(written).reduced.total == result.chosen.macs
