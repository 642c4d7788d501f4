"""What timm says of a name: size, mean, deviation and crop; and recipes that contradict it."""

from __future__ import annotations

import pytest
from recipe_cases import TINY_TIMM

from edgeexport.config.place import Place
from edgeexport.errors import RecipeError
from edgeexport.hosts import NAMED
from edgeexport.recipe import load_recipe

IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
HALF = {"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}


def config(**model):
    return NAMED["timm"].config_of_name(model, Place("x"))


@pytest.mark.parametrize(
    ("name", "side", "mean", "crop", "output", "classes"),
    [
        ("deit_tiny_patch16_224", 224, 123.675, (0.9, "center", "bicubic"), "logits", "imagenet"),
        ("vit_tiny_patch16_384", 384, 127.5, (1.0, "center", "bicubic"), "logits", "imagenet"),
        ("vit_tiny_patch16_224.augreg_in21k", 224, 127.5, (0.9, "center", "bicubic"), "logits", None),
        ("vit_small_patch14_dinov2", 518, 123.675, (1.0, "center", "bicubic"), "embedding", None),
        ("vit_base_patch16_siglip_224", 224, 127.5, (0.9, "center", "bicubic"), "embedding", None),
    ],
)
def test_a_name_brings_its_input(name, side, mean, crop, output, classes):
    found = config(name=name)
    assert found["model"]["name"] == name
    assert (found["input"]["shape"], found["input"]["preprocess"]["mean"][0]) == ([1, 3, side, side], mean)
    assert tuple(found["input"]["crop"].values()) == crop
    assert found.get("classes") == classes
    assert load_recipe(f"timm:{name}").output == output


def test_another_size_is_the_inputs_too():
    assert config(name="deit_tiny_patch16_224", img_size=(32, 48))["input"]["shape"] == [1, 3, 32, 48]


def test_an_unknown_name_gets_the_nearest_of_timm():
    with pytest.raises(RecipeError, match="did you mean 'vit_small_patch14_dinov2'") as caught:
        config(name="vit_smal_patch14_dinov2")
    assert caught.value.exit_code == 2


def named(name, preprocess):
    size = {("input", "shape"): (1, 3, 32, 32), ("model",): {"type": "timm", "name": name, "img_size": 32}}
    return {**size, ("input", "preprocess"): preprocess}


@pytest.mark.parametrize(
    ("name", "preprocess", "warned"),
    [
        ("deit_tiny_patch16_224", IMAGENET, False),
        ("deit_tiny_patch16_224", None, False),
        ("deit_tiny_patch16_224", HALF, True),
        ("vit_tiny_patch16_224", HALF, False),
        ("vit_tiny_patch16_224", IMAGENET, True),
        ("vit_tiny_patch16_224", None, True),
    ],
)
def test_a_recipe_that_normalises_otherwise_than_timm_is_warned_of(validated, name, preprocess, warned):
    warnings = validated(named(name, preprocess), TINY_TIMM).warnings
    assert bool(warnings) is warned
    assert all(name in warning and "timm: [" in warning for warning in warnings)


def test_a_model_without_a_name_has_no_normalisation_to_miss(validated):
    assert validated({("input", "preprocess"): HALF}, TINY_TIMM).warnings == ()
