# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import pytest
from recipe_cases import TINY_CLIP, TINY_DIFFUSION, TINY_TIMM

from edgeexport.inputs.spec import Crop, InputSpec, Preprocess

NORM = {"mean": (1, 2, 3), "std": (4, 5, 6)}
SHAPE = ("input", "shape")
SPECTROGRAM = {("model", "in_chans"): 1, ("model", "img_size"): (64, 32), SHAPE: (2, 1, 64, 32)}


def test_images(validated):
    spec = validated({("input", "preprocess"): NORM}, TINY_TIMM).input
    assert spec == InputSpec(1, 64, 64, Preprocess((1, 2, 3), (4, 5, 6), False))
    assert spec.shape == (1, 64, 64, 3)
    assert validated({SHAPE: [4, 3, 64, 64]}, TINY_TIMM).input == InputSpec(4, 64, 64, None)


def test_a_crop(validated):
    crop = validated({("input", "crop"): {"pct": 0.9}}, TINY_TIMM).input.crop
    assert crop == Crop(0.9, "center", "bicubic")


def test_spectrograms(validated):
    recipe = validated(SPECTROGRAM, TINY_TIMM)
    assert recipe.input == InputSpec(2, 64, 32, None, channels=1)
    assert recipe.input.shape == (2, 1, 64, 32)
    assert recipe.text["input"] == {"shape": [2, 1, 64, 32], "preprocess": None}


def test_clips(validated):
    recipe = validated({}, TINY_CLIP)
    assert recipe.input == InputSpec(1, 64, 64, None, frames=8)
    assert recipe.input.shape == (1, 3, 8, 64, 64)
    assert recipe.text["input"]["shape"] == [1, 3, 8, 64, 64]


def test_features(validated):
    recipe = validated({}, TINY_DIFFUSION)
    assert recipe.input == InputSpec(2, 4, 6, None, channels=24, context=(5, 10))
    assert recipe.input.shape == (2, 24, 24)
    assert recipe.text["input"]["shape"] == [2, 24, 24]


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (TINY_TIMM, {("input",): {}}, "input | required key 'shape' is missing | add shape=(1, 3, 64, 64)"),
        (TINY_TIMM, {("input", "shap"): 1}, "input.shap = 1 | unknown key 'shap'"),
        (TINY_TIMM, {SHAPE: 64}, "input.shape = 64 | expected a list, found an int"),
        (TINY_TIMM, {SHAPE: (1, 3, 224, 224)}, "input.shape = (1, 3, 224, 224) | expected (B, C, H, W) = (B, 3, 64, 64), as the model is | make them agree: the model's size is model.img_size"),
        (TINY_TIMM, {SHAPE: (1, 1, 64, 64)}, "input.shape = (1, 1, 64, 64) | expected (B, C, H, W) = (B, 3, 64, 64), as the model is"),
        (TINY_TIMM, {SHAPE: (3, 64, 64)}, "input.shape = (3, 64, 64) | expected (B, C, H, W) = (B, 3, 64, 64), found 3 values"),
        (TINY_TIMM, {SHAPE: (0, 3, 64, 64)}, "input.shape[0] = 0 | out of range: expected an integer of at least 1"),
        (TINY_TIMM, {SHAPE: (1, 3, 64, 64.0)}, "input.shape[3] = 64.0 | expected an integer of at least 1, found a float"),
        (TINY_TIMM, {("input", "preprocess"): {"mean": (1, 1, 1)}}, "input.preprocess | required key 'std' is missing"),
        (TINY_TIMM, {("model", "in_chans"): 4, SHAPE: (1, 4, 64, 64)}, "the model takes images of 4 channels, and builds are verified on photographs, which give 3, or 1 | use model.in_chans=3 or 1"),
        (TINY_CLIP, {("model", "in_chans"): 1, SHAPE: (1, 1, 8, 64, 64)}, "the model takes clips of 1 channels, and builds are verified on photographs, which give 3 | use model.in_chans=3"),
        (TINY_CLIP, {SHAPE: (1, 3, 64, 64)}, "input.shape = (1, 3, 64, 64) | expected (B, C, T, H, W) = (B, 3, 8, 64, 64), found 4 values"),
        (TINY_CLIP, {SHAPE: (1, 3, 16, 64, 64)}, "input.shape = (1, 3, 16, 64, 64) | expected (B, C, T, H, W) = (B, 3, 8, 64, 64), as the model is"),
        (TINY_TIMM, {("input", "preprocess"): {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}}, "mean and std are all at most 1, so they are of pixels from 0 to 1; these are from 0 to 255 | write them times 255: mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]"),
        (TINY_TIMM, {("input", "crop"): {"pct": 0}}, "input.crop.pct = 0 | expected a share above 0 and at most 1"),
        (TINY_TIMM, {("input", "crop"): {"pct": 1.5}}, "expected a share above 0 and at most 1 | timm's crop_pct, such as 0.9"),
        (TINY_TIMM, {("input", "crop"): {"mode": "border"}}, "expected one of 'center', 'squash'"),
        (TINY_TIMM, {("input", "crop"): {"interpolation": "bicubc"}}, "did you mean 'bicubic'?"),
        (TINY_TIMM, {**SPECTROGRAM, ("input", "crop"): {}}, "is for colour images, and the model takes 1 channel(s)"),
        (TINY_CLIP, {("input", "preprocess"): NORM}, "input.preprocess = {'mean': (1, 2, 3), 'std': (4, 5, 6)} | is for colour images, and the model takes clips of 8 frames | leave it out: the input is float32"),
        (TINY_TIMM, {**SPECTROGRAM, ("input", "preprocess"): NORM}, "is for colour images, and the model takes 1 channel(s)"),
        (TINY_DIFFUSION, {SHAPE: (1, 24, 25)}, "input.shape = (1, 24, 25) | expected (B, rows * columns, embed_dims) = (B, 24, 24), as the model is"),
        (TINY_DIFFUSION, {SHAPE: (1, 24, 4, 6)}, "expected (B, rows * columns, embed_dims) = (B, 24, 24), found 4 values"),
        (TINY_DIFFUSION, {("input", "preprocess"): NORM}, "input.preprocess = {'mean': (1, 2, 3), 'std': (4, 5, 6)} | is for images, and features go in | leave it out"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(base, changes, message, refused):
    found = refused(changes, base)
    assert message in found
    assert "x.py: input" in found
