"""`edgeexport recipes timm:NAME`: the recipe file of a model that timm names."""

from __future__ import annotations

import json

import pytest

from edgeexport.recipe import load_recipe

DEIT = "timm:deit_tiny_patch16_224"


def test_the_written_recipe_is_the_one_of_the_name(edgeexport, tmp_path):
    file = tmp_path / "made" / "deit.py"
    result = edgeexport("recipes", DEIT, "--tome", "8", "--cfg-options", "seed=3", "--write", file)
    assert result.code == 0
    written, named = load_recipe(file), load_recipe(DEIT, ["reduction.tome.r=8", "seed=3"])
    assert written.text == named.text
    assert (written.reductions, written.input) == (named.reductions, named.input)


def test_a_checkpoint_is_found_from_the_files_folder(edgeexport, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(b"weights")
    assert edgeexport("recipes", DEIT, "--checkpoint", "w.pth", "--write", "made/deit.py").code == 0
    assert load_recipe("made/deit.py").checkpoint == tmp_path / "w.pth"


def test_without_a_file_the_text_is_shown(edgeexport):
    result = edgeexport("recipes", DEIT, "--random", "(4, -1.0)")
    assert "reduction = dict(random=dict(r=(4, -1.0)))" in result.out
    document = json.loads(edgeexport("recipes", DEIT, "--json").out)
    assert document["file"] is None and "crop=dict(pct=0.9" in document["text"]


def test_a_contradicted_normalisation_is_warned_of(edgeexport):
    options = ("--cfg-options", "input.preprocess.std=[127.5,127.5,127.5]")
    assert "timm: [58.395" in edgeexport("recipes", DEIT, *options).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((DEIT, "--write", "there.py"), "exists already | give another name"),
        ((DEIT, "--write", "x.txt"), "is no name of a recipe"),
        (("segvit.py",), "is no model's name, expected timm:NAME"),
        (("--write", "x.py"), "means nothing without a model"),
        (("--tome", "3"), "means nothing without a model"),
    ],
)
def test_what_cannot_be_written_is_refused(edgeexport, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.py").write_text("x = 1")
    result = edgeexport("recipes", *arguments)
    assert (result.code, said in result.err) == (2, True)
    assert (tmp_path / "there.py").read_text() == "x = 1"


def test_tokens_of_a_name_are_inspected_without_a_bundle(edgeexport):
    document = json.loads(edgeexport("inspect", DEIT, "--tome", "8", "--json").out)
    assert document["recipe"] == "deit_tiny_patch16_224_tome8"
    assert document["tokens"]["blocks"][-1]["tokens_out"] == 197 - 12 * 8


def test_a_dry_run_takes_a_name_and_warns(edgeexport, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--cfg-options", "input.preprocess.std=[127.5,127.5,127.5]")
    result = edgeexport("build", DEIT, "--target", "cpu", "--dsm", "9", *options, "--dry-run", "--json")
    document = json.loads(result.out)
    assert document["would_write"] == "work_dirs/deit_tiny_patch16_224_dsm9-cpu-fp32"
    assert document["tokens"]["merging"]["method"] == "dsm"
    assert "timm: [58.395" in document["warnings"][0] and "timm: [58.395" in result.err
    assert edgeexport("build", tmp_path, "--tome", "8").code == 2


def test_a_short_option_means_the_same_for_a_recipe_file(edgeexport):
    result = edgeexport("build", "tome_deit_ti.py", "--target", "cpu", "--tome", "5", "--dry-run", "--json")
    assert set(json.loads(result.out)["tokens"]["merging"]["requested"]) == {5}
