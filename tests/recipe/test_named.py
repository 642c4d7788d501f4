"""A model's name in place of a recipe file, with options for the rest."""

from __future__ import annotations

import pytest
from recipe_cases import message_of

from edgeexport.errors import RecipeError
from edgeexport.inputs.spec import Crop
from edgeexport.recipe import load_recipe
from edgeexport.recipe.named import family_of_name

DEIT = "timm:deit_tiny_patch16_224"


def refusal(*arguments) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(*arguments)
    assert caught.value.exit_code == 2
    return message_of(caught.value)


def test_a_name_is_a_dense_recipe():
    recipe = load_recipe(DEIT)
    assert (recipe.name, recipe.reductions, recipe.output) == ("deit_tiny_patch16_224", {}, "logits")
    assert recipe.input.crop == Crop(0.9, "center", "bicubic")
    assert recipe.text["input"]["crop"] == {"pct": 0.9, "mode": "center", "interpolation": "bicubic"}
    assert len(recipe.classes) == 1000
    assert not recipe.from_file


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["reduction.tome.r=8"], "deit_tiny_patch16_224_tome8"),
        (["reduction.dsm.r=[3, 2]", "reduction.dsm.delay=1"], "deit_tiny_patch16_224_dsm"),
    ],
)
def test_options_add_a_reduction_and_its_name(options, name):
    assert load_recipe(DEIT, options).name == name


def test_the_input_follows_the_models_size_and_options_have_the_last_word():
    recipe = load_recipe(DEIT, ["model.img_size=64", "input.shape.0=2", "input.crop.pct=1.0", "classes=None"])
    assert (recipe.input.batch, recipe.input.height, recipe.input.crop.pct, recipe.classes) == (2, 64, 1.0, ())


def test_a_weights_tag_stays_part_of_the_name():
    recipe = load_recipe(f"{DEIT}.fb_in1k")
    assert (recipe.name, recipe.model.name) == ("deit_tiny_patch16_224_fb_in1k", "deit_tiny_patch16_224.fb_in1k")


@pytest.mark.parametrize(
    ("subject", "options", "said"),
    [
        ("timm:deit_tny_patch16_224", [], "timm has no model of this name | did you mean 'deit_tiny_patch16_224'?"),
        ("timm:resnet50", [], "it is of timm's family 'resnet'"),
        ("timm:", [], "expected a string, found an empty string"),
        (DEIT, ["reduction.tome.r=8", "reduction.dsm.r=8"], "dsm and tome cannot be combined"),
        (DEIT, ["reduction.tome.r=-1"], "reduction.tome.r = -1 | out of range"),
        ("timn:x", [], "timm:NAME is a model of timm without a recipe"),
    ],
)
def test_what_does_not_exist_is_refused(subject, options, said):
    assert said in refusal(subject, options)


def test_only_a_familys_prefix_makes_a_name():
    assert family_of_name(DEIT) == "timm"
    assert family_of_name("C:recipe.py") is None
    assert family_of_name("scenes_dense.py") is None
