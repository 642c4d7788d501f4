"""Configs of mmsegmentation as published: DToP's, SegViT's (0.x) and stock Segmenter's structure, a few channels wide."""

from __future__ import annotations

import pytest
from published_cases import written_dtop_config, written_segmenter_config, written_segvit_0x_config
from recipe_cases import message_of

from edgeexport.errors import RecipeError
from edgeexport.inputs.spec import Crop, Preprocess
from edgeexport.recipe import load_recipe
from edgeexport.recipe.labels import LabelsSpec


def refusal(path, *options: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, options)
    assert caught.value.exit_code == 2
    return message_of(caught.value)


def test_dtops_config_is_a_recipe(write):
    recipe = load_recipe(written_dtop_config(write))
    assert (recipe.input.height, recipe.input.width) == (64, 64)
    assert recipe.input.preprocess == Preprocess((127.5,) * 3, (127.5,) * 3, True)
    assert recipe.input.crop == Crop(1.0, "pad", "bilinear")
    assert recipe.classes[:2] == ("wall", "building") and recipe.palette[0] == (120, 120, 120)
    assert recipe.labels == LabelsSpec(True, ".jpg", ".png")
    assert recipe.checkpoint is None, "the backbone's pre-training is no checkpoint of the model"
    assert recipe.reductions == {} and recipe.warnings == ()


def test_options_add_what_the_tool_has_and_change_what_the_config_says(write):
    path = written_dtop_config(write)
    recipe = load_recipe(path, ["reduction.dtop.prune={2: 4, 3: 2}", "model.auxiliary_head.0.thresh=0.9"])
    assert recipe.reductions["dtop"].prune == ((2, 4), (3, 2))
    assert recipe.model.auxiliary_heads[0].threshold == 0.9
    wider = load_recipe(path, ["model.data_preprocessor={'mean': [1, 2, 3], 'std': [4, 5, 6], 'bgr_to_rgb': True}"])
    assert wider.input.preprocess == Preprocess((1, 2, 3), (4, 5, 6), True)
    shaped = load_recipe(path, ["input.shape=(1, 3, 64, 64)", "input.preprocess=None"])
    assert shaped.input.preprocess is None
    assert (
        load_recipe(path, ["crop_size=(128, 128)", "data_preprocessor.size=None", "model.test_cfg=None"]).input.height
        == 128
    )


def test_a_recipe_stands_on_a_published_config(write):
    written_dtop_config(write)
    text = "_base_ = 'prune/prune_segvit.py'\nreduction = dict(dtop=dict(prune={3: 4}))\noutput = 'scores'\n"
    recipe = load_recipe(write("mine.py", text))
    assert recipe.reductions["dtop"].prune == ((3, 4),) and recipe.output == "scores"
    assert recipe.input.height == 64 and recipe.labels.reduce_zero_label is True
    weights = write("mine.pth", "")
    assert load_recipe(write("with_weights.py", text + "checkpoint = 'mine.pth'\n")).checkpoint == weights


def test_a_config_of_0x_normalises_in_its_pipeline(write):
    recipe = load_recipe(written_segvit_0x_config(write))
    assert recipe.input.preprocess == Preprocess((1.0, 2.0, 3.0), (50.0, 51.0, 52.0), True)
    assert recipe.input.crop == Crop(1.0, "pad", "bilinear")
    assert recipe.classes[0] == "background" and len(recipe.classes) == 60
    assert recipe.labels.reduce_zero_label is False and recipe.checkpoint is None


def test_a_stock_segmenter_config_is_a_recipe(write):
    recipe = load_recipe(written_segmenter_config(write))
    assert recipe.model.type == "Segmenter" and recipe.input.height == 64
    assert recipe.classes[0] == "road"
    assert recipe.labels == LabelsSpec(False, "_leftImg8bit.png", "_gtFine_labelTrainIds.png")


def test_windows_slide_over_a_larger_input(write):
    recipe = load_recipe(written_segmenter_config(write), ["input.shape=(1, 3, 64, 112)"])
    assert recipe.facts.windows == 2


def test_images_that_are_stretched_stay_so(write):
    assert load_recipe(written_dtop_config(write, keep_ratio=False)).input.crop is None


def test_another_number_of_classes_or_data_set_has_no_names(write):
    recipe = load_recipe(written_dtop_config(write, classes=7))
    assert recipe.classes == () and "ADE20KDataset has 150 of them, the model 7" in recipe.warnings[0]
    own = load_recipe(written_dtop_config(write, kind="MyDataset", classes=2))
    assert own.classes == () and "is no data set of mmsegmentation" in own.warnings[0]
    named = ["test_dataloader.dataset.metainfo={'classes': ('a', 'b'), 'palette': [[1, 2, 3], [4, 5, 6]]}"]
    stated = load_recipe(written_dtop_config(write, kind="MyDataset", classes=2), named)
    assert (stated.classes, stated.palette) == (("a", "b"), ((1, 2, 3), (4, 5, 6)))


def test_what_is_nearly_a_key_is_refused(write):
    path = written_dtop_config(write)
    assert "unknown key 'reductions' | did you mean 'reduction'?" in refusal(path, "reductions.dtop=None")
    child = write("child.py", "_base_ = 'prune/prune_segvit.py'\nreductions = dict(dtop=dict(prune={3: 4}))\n")
    assert "did you mean 'reduction'?" in refusal(child)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model = dict(type='FasterRCNN', backbone=dict(type='ResNet'))", "'FasterRCNN' | expected one of"),
        ("model = dict(type='ImageClassifier')", "'ImageClassifier' | expected one of"),
        ("model = print", "a model that code builds is not read"),
        ("def model():\n    return {}\n", "no model"),
        ("model = dict(type=dict)", "a model of classes or functions is not read"),
        ("", "no model"),
        (
            "model = dict(type='EncoderDecoder', backbone=dict(type='ResNetV1c', depth=50), decode_head=dict(type='ATMHead'))",
            "'ResNetV1c' | ",
        ),
        (
            "model = dict(type='EncoderDecoder', backbone=dict(type='VisionTransformer'), decode_head=dict(type='UPerHead'))",
            "'UPerHead' | ",
        ),
        (
            "model = dict(type='EncoderDecoder')\n"
            "data_preprocessor = dict(mean=[1, 2, 3], std=[1, 1, 1], bgr_to_rgb=False)",
            "bgr_to_rgb = False | the model would be fed BGR",
        ),
    ],
)
def test_what_is_no_segmenter_of_a_plain_vit_is_refused(text, found, write):
    path = write("other.py", f"default_scope = 'mmdet'\noptim_wrapper = dict(type='OptimWrapper')\n{text}\n")
    assert found in refusal(path)


def test_another_frameworks_config_is_refused(write):
    assert "No module named" in refusal(write("lazy.py", "from a_detection_framework_that_is_not_here import model\n"))
    assert "a recipe is a Python file (.py), found '.yaml'" in refusal(write("config.yaml", "MODEL: {}\n"))
