"""What a calibration writes, from outcomes made by hand: the recipe, the JSON, and plots of odd cases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from observation_cases import CTS_DTOP, image_of, stage_of, tiny
from PIL import Image

from edgeexport.calibration.counts import Counts
from edgeexport.calibration.evidence_files import counts_recipe_text, write_evidence
from edgeexport.calibration.exits import exit_evidence
from edgeexport.calibration.outcome import CalibrationOutcome, ChosenConstant
from edgeexport.calibration.plots import draw_counts, draw_quality
from edgeexport.calibration.proposal import Proposal, ProposedCounts
from edgeexport.calibration.request import Request
from edgeexport.calibration.search import Evaluated
from edgeexport.calibration.stage_observation import ImageObservation, StageObservation
from edgeexport.errors import UsageError
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe

DENSE = ProposedCounts(Counts(), (64,), 10_000_000, 0, 1e7, quality=80.0)
CHOSEN = ProposedCounts(Counts(8, ((3, 16),)), (40, 24), 6_000_000, 500_000, 6e6, quality=79.5)


def labelled_stage(block: int, sure: int, tokens: int) -> StageObservation:
    """Every third token is wrong."""
    found = stage_of([0.95] * sure + [0.5] * (tokens - sure), block=block)
    wrong = np.arange(tokens) % 3 == 0
    return replace(found, wrong=wrong, protected_wrong=np.zeros(0, dtype=bool))


def outcome_of(
    recipe: Recipe, *, reason: str = "", labelled: bool = True, counts: ProposedCounts = CHOSEN
) -> CalibrationOutcome:
    images: list[ImageObservation] = []
    for number in range(4):
        stage = labelled_stage(3, 14 + 2 * number, 40)
        images.append(image_of(f"i{number}", stage if labelled else replace(stage, wrong=None), shareable=6 + number))
    evaluated = tuple(Evaluated(item.counts, item.cost, item.quality) for item in (DENSE, counts))
    proposal = Proposal(
        recipe=recipe.name,
        request=Request("coverage", 0.75),
        images=4,
        measure="mIoU" if labelled else "agreement",
        unit="MACs",
        device="",
        dense=DENSE,
        chosen=counts,
        exact=None,
        align=8,
        coverage=None,
        coverage_interval=None,
        published=None,
        equal_mean=None,
        candidates=2,
        reason=reason,
    )
    found = exit_evidence(images, 3, counts=[16], thresholds=[0.9])
    return CalibrationOutcome(
        recipe=recipe,
        cfg_options=(CTS_DTOP,),
        weights={"origin": "random", "statement": "random weights, seed 0: predictions mean nothing"},
        data={"folder": "data"},
        left_out=(),
        thresholds={3: 0.9},
        proposal=proposal,
        published=tuple(images),
        fixed=tuple(images),
        constants=(
            ChosenConstant(0, 0.5, (6, 7, 8, 9), counts.counts.num_shared, None),
            ChosenConstant(3, 0.9, (14, 16, 18, 20), counts.counts.pruned_after(3), None),
        ),
        evaluated=evaluated,
        exits=() if found is None else (found,),
        limit=None,
        details={},
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """With CTS and both stages of DToP, by option."""
    return tiny(tmp_path, CTS_DTOP)


def test_the_recipe_realises_exactly_the_counts(recipe: Recipe, tmp_path: Path) -> None:
    files = write_evidence(outcome_of(recipe), tmp_path / "out")
    written = load_recipe(files.recipe)
    assert (written.reductions["cts"].num_shared, written.reductions["cts"].align_tokens) == (8, 1)
    assert written.reductions["dtop"].prune == ((3, 16),)
    assert written.description == (
        "tiny calibrated: share 8 windows and prune 16 tokens after block 3 (64 -> 40 -> 24 tokens)."
    )


def test_the_policy_networks_file_is_found_from_the_new_folder(tmp_path: Path) -> None:
    (tmp_path / "policy.pth").touch()
    given = CTS_DTOP.replace("'align_tokens': 1", "'policy_checkpoint': 'policy.pth'")
    recipe = tiny(tmp_path, given)
    text = counts_recipe_text(outcome_of(recipe), tmp_path / "a" / "b")
    assert 'policy_checkpoint="../../policy.pth"' in text
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = tmp_path / "a" / "b" / "child.py"
    path.write_text(text)
    assert load_recipe(path).reductions["cts"].policy_checkpoint == tmp_path / "policy.pth"


def test_where_the_dense_model_wins_the_recipe_is_dense_and_says_why(recipe: Recipe, tmp_path: Path) -> None:
    files = write_evidence(outcome_of(recipe, reason="heads cost more than is saved"), tmp_path / "out")
    written = load_recipe(files.recipe)
    assert written.reductions == {}
    assert written.description == "tiny calibrated: the dense model, which wins (64 tokens)."
    assert "The dense model wins: heads cost more than is saved." in files.recipe.read_text()
    assert json.loads(files.evidence.read_text())["proposal"]["worth"] is False


def test_exits_need_labels(recipe: Recipe, tmp_path: Path) -> None:
    first = write_evidence(outcome_of(recipe), tmp_path)
    assert first.exits is not None
    assert first.exits.is_file()
    second = write_evidence(outcome_of(recipe, labelled=False), tmp_path)
    assert second.exits is None
    assert not first.exits.exists(), "that of an earlier run belongs to nothing any more"


def test_exit_points_are_those_of_the_chosen_count(recipe: Recipe) -> None:
    points = outcome_of(recipe).exit_points(3)
    assert points is not None
    fixed, equal = points
    assert fixed.setting == 16
    assert (fixed.pruned, fixed.wrong) == (64, 4 * 6), "of the first 16, every third"
    assert equal.mean_count == pytest.approx(17.0), "all that are equally sure leave"
    assert outcome_of(recipe).exit_points(2) is None


def test_a_folder_that_cannot_be_written(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        write_evidence(outcome_of(recipe), tmp_path / "taken")


@pytest.mark.parametrize(
    "constants",
    [
        [ChosenConstant(3, 0.9, (5,), 5, None)],
        [ChosenConstant(0, 0.5, (0, 0, 0), 0, 0), ChosenConstant(3, None, (), 8, None)],
        [ChosenConstant(block, 0.9, tuple(range(300)), 100, 104) for block in range(5)],
    ],
    ids=["one image", "nothing to share, and a stage without a threshold", "many"],
)
def test_plots_of_odd_cases_are_drawn(constants: list[ChosenConstant], tmp_path: Path) -> None:
    draw_counts(constants, "a recipe whose name and weights take more than one line " * 3, tmp_path / "counts.png")
    with Image.open(tmp_path / "counts.png") as picture:
        assert picture.width >= 800
        assert len(np.unique(np.asarray(picture).reshape(-1, (picture.mode == "RGBA" and 4) or 3), axis=0)) > 5


def test_a_quality_plot_of_the_dense_model_alone(tmp_path: Path) -> None:
    draw_quality(
        [Evaluated(DENSE.counts, DENSE.cost, DENSE.quality)],
        dense=DENSE,
        chosen=DENSE,
        blocks=[0, 3],
        unit="MACs",
        quality_label="mIoU",
        limit=("quality", 79.5),
        title="alone",
        path=tmp_path / "quality.png",
    )
    with Image.open(tmp_path / "quality.png") as picture:
        assert picture.width >= 800
