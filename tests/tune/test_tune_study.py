"""`edgeexport tune` on a small model: against trying every count, interrupted, and with input that does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_cases import CommandResult

from edgeexport.calibration.merging_candidate import low_end
from edgeexport.commands.evaluate_against import evaluate_against
from edgeexport.errors import UsageError
from edgeexport.evaluation.against import AgainstOptions
from edgeexport.fixed.tokens import account
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe import load_recipe
from edgeexport.tune.bounds import TuneOptions
from edgeexport.tune.result import TuneResult
from edgeexport.tune.study_file import STUDY_FILE
from edgeexport.tune.tune import tune

Command = Callable[..., CommandResult]

RECIPE = '''"""Small."""

model = dict(type="timm", img_size=(32, 32), patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes={classes})
input = dict(shape=(2, 3, 32, 32))
output = "{output}"
'''
PHOTOS = shipped_photos()[0].parent


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(RECIPE.format(classes=0, output="features"))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """`table(merge_ms)`: 0.1 ms a token in every block, and so much for merging in one."""

    def write(merge_ms: float) -> Path:
        points = {str(tokens): tokens / 20 for tokens in (1, 17)}
        merging = {"1": merge_ms, "17": merge_ms}
        document = {
            "schema": "edgeexport.merging_latency_table/1",
            "provenance": "measured",
            "device": "a test",
            "attention_ms": points,
            "mlp_ms": points,
            "merge_ms": merging,
            "fixed_ms": 0.0,
        }
        path = tmp_path / f"table{merge_ms:g}.json"
        path.write_text(json.dumps(document))
        return path

    return write


def tuned(recipe: Path, folder: Path, **options: object) -> TuneResult:
    given = {"data": PHOTOS, "target": "cpu", "out_dir": folder, "trials": 8, **options}
    return tune(recipe, TuneOptions(**given))  # type: ignore[arg-type]


def test_the_cheapest_count_that_keeps_the_bound(recipe: Path, tmp_path: Path) -> None:
    every = {}
    for merged in range(2, 17):
        r = [merged // 2 + merged % 2, merged // 2]
        options = (f"reduction.tome.r={r}",)
        found = evaluate_against(
            recipe, "dense", AgainstOptions(PHOTOS, out_dir=tmp_path / f"e{merged}"), cfg_options=options
        )
        every[account(load_recipe(recipe, options)).reduced.total] = min(map(low_end, found.figures.values()))
    ends = sorted(every.values())
    bound = (ends[len(ends) // 2] + ends[len(ends) // 2 + 1]) / 2
    result = tuned(recipe, tmp_path / "out", min_cosine=bound, methods=("tome",))
    best = min(macs for macs, end in every.items() if end >= bound)
    assert result.chosen.macs == best and not result.dense_wins and result.unit == "MACs"
    assert low_end(result.chosen.kept.worst) == pytest.approx(
        every[best], abs=1e-6
    )  # one thread here, any number there
    assert result.floor.macs <= best * 1.05 and result.floor.form.way == "random"
    written = load_recipe(result.recipe_file)
    assert account(written).reduced.total == best and list(written.reductions) == ["tome"]
    assert json.loads(result.file.read_text()) == json.loads(json.dumps(result.as_dict()))
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    text = " ".join(result.recipe_file.read_text().split())
    assert "on 4 images, in torch" in text and "Not tried:" in text and "--target cpu --precision fp32" in text


def test_an_interrupted_study_goes_on_as_if_it_never_was(recipe: Path, tmp_path: Path) -> None:
    whole = tuned(recipe, tmp_path / "whole", min_cosine=0.9)
    calls = []

    def stop(done: int, total: int, name: str) -> None:
        calls.append(name)
        if len(calls) == 5:
            raise KeyboardInterrupt

    given = TuneOptions(data=PHOTOS, target="cpu", min_cosine=0.9, trials=8, out_dir=tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        tune(recipe, given, on_progress=stop)
    kept = (tmp_path / "again" / STUDY_FILE).read_bytes()
    assert kept.count(b"\n") == 6  # the head and what was told
    notes: list[str] = []
    again = tune(recipe, given, on_note=notes.append)
    assert any("goes on with 5 parts" in note for note in notes)
    assert (tmp_path / "again" / STUDY_FILE).read_bytes().startswith(kept)
    ours, theirs = again.as_dict(), whole.as_dict()
    assert {key for key in ours if ours[key] != theirs[key]} <= {"recipe_file", "picture"}
    lines = [(tmp_path / name / STUDY_FILE).read_text().splitlines() for name in ("whole", "again")]
    assert sorted(lines[0]) == sorted(lines[1])


def test_a_study_of_another_version_is_left_alone(recipe: Path, tmp_path: Path, edgeexport: Command) -> None:
    tuned(recipe, tmp_path / "out", min_cosine=0.9, trials=2)
    file = tmp_path / "out" / STUDY_FILE
    head, *rest = file.read_text().splitlines(keepends=True)
    for changed, said in (
        (head.replace("tune_study/1", "tune_study/9"), "is of schema 'edgeexport.tune_study/9'"),
        (head.replace('"program":"', '"program":"0'), "is a study of another version of edgeexport"),
        (head.replace('"model and images":"', '"model and images":"0'), "is a study of other weights"),
    ):
        assert changed != head
        file.write_text("".join([changed, *rest]))
        before = file.read_bytes()
        for more in ((), ("--restart",)):
            line = (
                "tune",
                recipe,
                "--target",
                "cpu",
                "--data",
                PHOTOS,
                "--min-cosine",
                0.9,
                "--out-dir",
                tmp_path / "out",
            )
            result = edgeexport(*line, *more)
            assert result.code == 2 and said in result.err and "give another --out-dir" in result.err
            assert file.read_bytes() == before


def test_restart_measures_anew(recipe: Path, tmp_path: Path) -> None:
    first = tuned(recipe, tmp_path / "out", min_cosine=0.9, trials=2)
    lines = (tmp_path / "out" / STUDY_FILE).read_text()
    again = tuned(recipe, tmp_path / "out", min_cosine=0.9, trials=2, restart=True)
    assert (tmp_path / "out" / STUDY_FILE).read_text() == lines and again.as_dict() == first.as_dict()


def test_the_dense_model_wins_where_merging_takes_longer(
    recipe: Path, tmp_path: Path, table: Callable[..., Path]
) -> None:
    result = tuned(recipe, tmp_path / "out", min_cosine=0.5, latency_table=table(9.0))
    assert result.dense_wins and result.trials == 0 and result.recipe_file is None
    assert (
        result.statement.startswith("The dense model wins, in fp32: none of ") and "is measured at " in result.statement
    )
    assert not (tmp_path / "out" / "small_tuned.py").exists()
    cheap = tuned(recipe, tmp_path / "out", min_cosine=0.5, latency_table=table(0.01))
    assert not cheap.dense_wins and cheap.unit == "ms" and (tmp_path / "out" / "small_tuned.py").exists()
    assert cheap.chosen.cost < cheap.dense.cost == pytest.approx(2 * 17 * 0.1)


def test_a_budget_of_time(recipe: Path, tmp_path: Path, table: Callable[..., Path]) -> None:
    fits = tuned(recipe, tmp_path / "a", latency_ms=10.0, latency_table=table(0.01))
    assert fits.dense_wins and "it fits --latency-ms 10 as it is" in fits.statement
    result = tuned(recipe, tmp_path / "a", latency_ms=2.9, latency_table=table(0.01), trials=16)
    assert not result.dense_wins and result.chosen.cost <= 2.9
    seen = [point for point in result.points if point.cost <= 2.9]
    assert result.chosen.worst == max(point.worst for point in seen)
    with pytest.raises(UsageError, match=r"nothing keeps it; nearest is .*, fp32: 3\.4") as caught:
        tuned(recipe, tmp_path / "a", latency_ms=0.1, latency_table=table(0.01))
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="nothing keeps it; nearest is"):  # each can be kept, both cannot
        tuned(recipe, tmp_path / "a", latency_ms=1.4, min_cosine=0.99, latency_table=table(0.01))


def test_points_of_a_classifier(tmp_path: Path) -> None:
    path = tmp_path / "classifier.py"
    path.write_text(RECIPE.format(classes=3, output="logits"))
    result = tuned(path, tmp_path / "out", max_drop=40.0)
    assert result.chosen.kept is None or result.chosen.kept.drop.figure.mean <= 40
    assert all(point.kept.drop.measure == "agreement" for point in result.points if point.kept is not None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "expected a bound to tune for, found none"),
        (("--min-cosine", 1.5), "expected a cosine above 0 and below 1"),
        (("--min-cosine", 0.9, "--max-drop", 1), "both bound what is lost, expected one"),
        (("--max-drop", 1), "gives no classes, and the images lie in no folders of classes"),
        (("--latency-ms", 3), "no time is predicted: no rates of cpu are published"),
        (("--min-cosine", 0.9, "--budget", "soon"), "expected a time above 0, such as 90s, 30m or 2h"),
        (("--min-cosine", 0.9, "--precision", "fp8"), "expected fp16 or fp32"),
        (("--min-cosine", 0.9, "--method", "tone"), "did you mean 'tome'?"),
        (("--min-cosine", 0.9, "--trials", 0), "expected at least 1"),
        (("--min-cosine", 0.9, "--limit", 0), "expected at least 1"),
        (("--min-cosine", 0.9, "--target", "orion"), "no such target"),
    ],
)
def test_options_that_do_not_fit(
    edgeexport: Command, recipe: Path, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    line = ("tune", recipe, "--target", "cpu", "--data", PHOTOS, "--out-dir", tmp_path / "o", "--trials", 1)
    result = edgeexport(*line, *options)
    assert result.code == 2 and said in result.err, result.err


def test_no_images(edgeexport: Command, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = ("tune", recipe, "--target", "cpu", "--min-cosine", 0.9, "--out-dir", tmp_path / "o")
    result = edgeexport(*line)
    assert result.code == 2 and "--data | is missing" in result.err
    result = edgeexport(*line, "--data", tmp_path / "empty")
    assert result.code == 2 and "holds no image" in result.err
    (tmp_path / "empty" / "torn.jpg").write_bytes(b"\xff\xd8")
    result = edgeexport(*line, "--data", tmp_path / "empty")
    assert result.code == 2 and "no image of the first 1 can be used; torn.jpg" in result.err
