from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from recipe_cases import TINY, message_of

from edgeexport.errors import CheckpointError, RecipeError
from edgeexport.recipe import load_recipe, shipped_recipes, shipped_recipes_folder
from edgeexport.reductions.cts import CtsSpec
from edgeexport.reductions.dtop import DtopSpec
from edgeexport.reductions.merge_spec import MergeSpec

TINY_TEXT = '"""A small recipe."""\n' + "\n".join(f"{key} = {value!r}" for key, value in TINY.items())


@pytest.fixture
def tiny(write) -> Path:
    return write("tiny.py", TINY_TEXT + "\nreduction = dict(dtop=dict(prune={2: 10, 3: 4}))\n")


def refusal(*arguments: object, kind: type = RecipeError, **named: object) -> str:
    with pytest.raises(kind) as caught:
        load_recipe(*arguments, **named)
    return message_of(caught.value)


def test_a_file_becomes_a_recipe(tiny):
    recipe = load_recipe(tiny)
    assert (recipe.name, recipe.path, recipe.description) == ("tiny", tiny, "A small recipe.")
    assert recipe.reductions["dtop"] == DtopSpec(((2, 10), (3, 4)), 5)
    assert load_recipe(str(tiny.with_suffix(""))) == recipe


def test_a_childs_prune_replaces_its_parents(tiny, write):
    child = write("child.py", "_base_ = 'tiny.py'\nreduction = dict(dtop=dict(prune={3: 8}))")
    assert load_recipe(child).reductions["dtop"] == DtopSpec(((3, 8),), 5)


@pytest.mark.parametrize(
    ("option", "prune"),
    [("reduction.dtop.prune={3: 8}", ((3, 8),)), ("reduction.dtop.prune.3=8", ((2, 10), (3, 8)))],
)
def test_an_options_prune_replaces_the_recipes(option, prune, tiny):
    assert load_recipe(tiny, [option]).reductions["dtop"] == DtopSpec(prune, 5)


def test_options_are_validated_like_the_recipe(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(tiny, ["reduction.dtop.prune.3=54"]) == (
        "tiny.py: reduction.dtop.prune[3] = 54 | leaves none of the 54 tokens entering block 3 | use a value below 54"
    )
    assert refusal(tiny, ["reduction.dtop.protect_per_clas=3"]) == (
        "tiny.py: reduction.dtop.protect_per_clas = 3 | unknown key 'protect_per_clas' | "
        "did you mean 'protect_per_class'?"
    )
    assert "unknown key 'inputs'" in refusal(tiny, ["inputs.shape=3"])


def test_files_are_relative_to_the_recipe_that_is_loaded(tiny, write):
    weights = write("deeper/w.pth", "")
    write("with_weights.py", "_base_ = 'tiny.py'\ncheckpoint = 'w.pth'")
    child = write("deeper/child.py", "_base_ = '../with_weights.py'")
    assert load_recipe(child).checkpoint == weights
    assert "no such file" in refusal(tiny.parent / "with_weights.py", kind=CheckpointError)


def test_a_file_named_by_the_command_line_overrides(tiny, write, tmp_path, monkeypatch):
    weights = write("elsewhere/w.pth", "")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_recipe(tiny, checkpoint=Path("w.pth")).checkpoint == weights


def test_a_user_recipe_derives_from_a_shipped_one_by_path(write):
    base = shipped_recipes_folder() / "segvit_ti_cts_dtop.py"
    recipe = load_recipe(write("mine.py", f"_base_ = '{base}'\nreduction = dict(dtop=dict(prune={{8: 160}}))"))
    assert recipe.reductions["cts"] == CtsSpec(103, 8, None)
    assert recipe.reductions["dtop"] == DtopSpec(((8, 160),), 5)


def test_errors_of_reading_reach_the_caller(write):
    assert "syntax error" in refusal(write("x.py", "model = ("))
    assert "no such recipe" in refusal("segvit_nothing.py")


def test_importing_recipes_imports_no_mmengine():
    code = "import sys, edgeexport.recipe; print({'mmengine', 'mmseg', 'mmcv'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", [name for name, _ in shipped_recipes() if name.startswith("segvit")])
def test_every_shipped_recipe_of_segvit_loads(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name)
    assert (recipe.input.batch, recipe.input.height, recipe.input.width) == (1, 512, 512)
    assert recipe.model.decode_head.num_classes == len(recipe.classes) == len(recipe.palette) == 150
    assert recipe.output == "class_map"
    assert recipe.checkpoint is None
    assert recipe.description


# Name -> (shape of the graph's input, tokens entering block 1, width, blocks, classes, first of the merge amounts).
MERGING = {
    "dsm_deit_s": ((1, 224, 224, 3), 197, 384, 12, 1000, 13),
    "dsm_vit_b": ((1, 224, 224, 3), 197, 768, 12, 1000, 13),
    "tome_audio_vit_b": ((1, 1, 1024, 128), 513, 768, 12, 527, 40),
    "tome_deit_s": ((1, 224, 224, 3), 197, 384, 12, 1000, 13),
    "tome_deit_s_distilled": ((1, 224, 224, 3), 198, 384, 12, 1000, 13),
    "tome_deit_ti": ((1, 224, 224, 3), 197, 192, 12, 1000, 13),
    "tome_video_vit_l": ((1, 3, 16, 224, 224), 1569, 1024, 24, 400, 65),
    "tome_vit_b": ((1, 224, 224, 3), 197, 768, 12, 1000, 13),
    "tome_vit_l_mae": ((1, 224, 224, 3), 197, 1024, 24, 1000, 8),
}


@pytest.mark.parametrize("name", MERGING)
def test_every_shipped_recipe_of_a_merging_classifier_loads(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name)
    model, (merge,) = recipe.model, recipe.reductions.values()
    facts = (recipe.input.shape, model.num_tokens, model.embed_dims, model.num_layers, model.num_classes, merge.r[0])
    assert facts == MERGING[name]
    assert (recipe.output, recipe.checkpoint) == ("logits", None)
    assert list(recipe.reductions) == [merge.method] == [name.partition("_")[0]]
    assert recipe.description


@pytest.mark.parametrize("name", [name for name in MERGING if "video" not in name and "audio" not in name])
def test_pixels_are_scaled_as_timm_does_for_that_model(name):
    recipe = load_recipe(name)
    timm = pytest.importorskip("timm")
    # MAE's weights keep ImageNet's mean; timm's untagged ViT-L is AugReg's.
    config = timm.models.get_pretrained_cfg(f"{recipe.model.name}.mae" if "mae" in name else recipe.model.name)
    assert recipe.input.preprocess.mean == pytest.approx([255 * level for level in config.mean])
    assert recipe.input.preprocess.std == pytest.approx([255 * level for level in config.std])
    assert recipe.input.preprocess.bgr_to_rgb is False


def test_the_shipped_floor_is_deit_s_at_the_counts_of_tome():
    floor, tome = load_recipe("random_deit_s"), load_recipe("tome_deit_s")
    assert floor.model == tome.model and floor.input == tome.input
    assert list(floor.reductions) == ["random"]
    assert floor.reductions["random"].merge.r == tome.reductions["tome"].r


def test_the_shipped_mae_recipe_pools_as_mae_does():
    recipe = load_recipe("tome_vit_l_mae")
    assert recipe.model.global_pool == "avg"
    assert recipe.model.class_token
    assert recipe.reductions["tome"].pool == "size_weighted"
    assert recipe.reductions["tome"].proportional_attention is False


def test_the_shipped_dense_recipes():
    block = load_recipe("tome_sd_block")
    assert block.input.shape == (1, 4096, 320)
    assert block.input.context == (77, 768)
    assert block.reductions["tome"] == MergeSpec("tome", (2048,), False, metric="x", dense="sd")
    segvit = load_recipe("tome_segvit")
    assert segvit.model == load_recipe("segvit").model
    assert segvit.reductions["tome"] == MergeSpec("tome", (312,) * 12, metric="x", dense="tome")


def test_the_recipes_of_a_family_differ_in_reduction_alone():
    reductions = ("_cts", "_dtop", "_dtop8", "_cts_dtop", "_cts_dtop8")
    for stem, width in (("segvit", 384), ("segvit_ti", 192)):
        dense = load_recipe(stem)
        assert dense.model.decode_head.width == width
        assert dense.reductions == {}
        for suffix in reductions:
            reduced = load_recipe(stem + suffix)
            assert reduced.reductions != dense.reductions
            same = {key: value for key, value in reduced.text.items() if key != "reduction"}
            assert same == {key: value for key, value in dense.text.items() if key != "reduction"}


SCENES = {f"scenes_{form}.py" for form in ("dense", "cts", "dtop_one_head", "dtop", "cts_dtop", "cts_separate", "tome")}


SEGMENTERS = {f"scenes_segmenter{form}.py" for form in ("", "_cts", "_tome", "_algm")}


@pytest.mark.parametrize("name", sorted(SEGMENTERS))
def test_trained_segmenters_share_model_and_weights(name):
    dense, recipe = load_recipe("scenes_segmenter.py"), load_recipe(name)
    assert recipe.checkpoint == dense.checkpoint and recipe.checkpoint.stat().st_size <= 8e6
    assert (recipe.model, recipe.input) == (dense.model, dense.input)
    sibling = load_recipe("scenes_dense.py")
    assert (recipe.classes, recipe.palette, recipe.input) == (sibling.classes, sibling.palette, sibling.input)


@pytest.mark.parametrize("name", sorted(SCENES))
def test_trained_recipes_share_model_and_weights(name):
    dense, recipe = load_recipe("scenes_dense.py"), load_recipe(name)
    assert recipe.checkpoint == dense.checkpoint
    assert recipe.checkpoint.stat().st_size <= 20e6
    assert (recipe.model, recipe.classes, recipe.input) == (dense.model, dense.classes, dense.input)
    assert len(recipe.classes) == recipe.model.decode_head.num_classes == 13


def test_the_recipes_that_the_issue_names_are_shipped():
    variants = ("", "_cts", "_dtop", "_dtop8", "_cts_dtop", "_cts_dtop8", "_atm")
    segvit = {f"{s}{v}.py" for s in ("segvit", "segvit_ti") for v in variants}
    dense = {"tome_sd_block.py", "tome_segvit.py"}
    merging = {f"{name}.py" for name in (*MERGING, "random_deit_s")}
    segmenter = {f"segmenter{form}.py" for form in ("", "_cts", "_tome", "_algm")}
    assert {name for name, _ in shipped_recipes()} == segvit | segmenter | dense | SCENES | SEGMENTERS | merging | {
        "flowmm_qwen2_5_vl.py"
    }


@pytest.mark.parametrize("name", ["segmenter_cts", "segmenter_tome", "segmenter_algm"])
def test_the_recipes_of_a_segmenter_differ_in_reduction_alone(name):
    dense, reduced = load_recipe("segmenter"), load_recipe(name)
    assert dense.reductions == {} and reduced.reductions
    same = [{key: value for key, value in one.text.items() if key != "reduction"} for one in (dense, reduced)]
    assert same[0] == same[1]


def test_shipped_descriptions_are_one_line_each_and_distinct():
    lines = [line for _, line in shipped_recipes()]
    assert all(lines)
    assert len(set(lines)) == len(lines)
