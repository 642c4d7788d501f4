# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import pytest
from recipe_cases import ABSENT, TINY_ATM

from edgeexport.hosts.host import TailSpec
from edgeexport.inputs.spec import InputSpec, Preprocess

NORM = {"mean": [123.675, 116.28, 103.53], "std": (58.395, 57.12, 57.375)}


def test_an_input_is_read(validated):
    assert validated({("input", "shape"): [2, 3, 64, 96]}).input == InputSpec(2, 64, 96, None)
    spec = validated({("input", "preprocess"): {**NORM, "bgr_to_rgb": True}}).input
    assert spec.preprocess == Preprocess((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), True)
    spec = validated({("input", "preprocess"): NORM}).input
    assert spec.preprocess is not None
    assert spec.preprocess.bgr_to_rgb is False


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), {}, "input | required key 'shape' is missing | add shape=(1, 3, 512, 512)"),
        (("shap",), 1, "input.shap = 1 | unknown key 'shap' | did you mean 'shape'?"),
        (("shape",), (3, 128, 128), "input.shape = (3, 128, 128) | expected 4 values, found 3"),
        (("shape",), 512, "input.shape = 512 | expected 4 values, found an int"),
        (("shape",), (0, 3, 128, 128), "input.shape[0] = 0 | out of range: expected an integer of at least 1"),
        (("shape",), (1, 3, 128.0, 128), "input.shape[2] = 128.0 | expected an integer of at least 1, found a float"),
        (("shape",), (1, 4, 128, 128), "input.shape = (1, 4, 128, 128) | expected (B, 3, H, W), found 4 channels"),
        (("shape",), (1, 3, 130, 128), "input.shape = (1, 3, 130, 128) | the height 130 is not divisible by the patch size 16 | use 128 or 144"),
        (("shape",), (1, 3, 128, 8), "input.shape = (1, 3, 128, 8) | the width 8 is not divisible by the patch size 16 | use 16"),
        (("preprocess",), "imagenet", "input.preprocess = 'imagenet' | expected a dict"),
        (("preprocess",), {"std": (1, 1, 1)}, "input.preprocess | required key 'mean' is missing"),
        (("preprocess",), {"mean": (1, 1, 1)}, "input.preprocess | required key 'std' is missing"),
        (("preprocess",), {**NORM, "mean": (1, 1)}, "input.preprocess.mean = (1, 1) | expected 3 values, found 2"),
        (("preprocess",), {**NORM, "std": (1, 0, 1)}, "input.preprocess.std = (1, 0, 1) | every value must be positive"),
        (("preprocess",), {**NORM, "std": (1, "a", 1)}, "input.preprocess.std[1] = 'a' | expected a finite number"),
        (("preprocess",), {**NORM, "to_rgb": True}, "input.preprocess.to_rgb = True | unknown key 'to_rgb' | did you mean 'bgr_to_rgb'?"),
        (("preprocess",), {**NORM, "bgr_to_rgb": 1}, "input.preprocess.bgr_to_rgb = 1 | expected True or False"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(path, value, message, refused):
    assert f"x.py: {message}" in refused({("input", *path): value})


def test_outputs(validated, refused):
    assert validated().output == "class_map"
    assert validated({("output",): "scores"}).output == "scores"
    assert "x.py: output = 'class' | expected one of 'class_map', 'scores'" in refused({("output",): "class"})


def test_tails_resolve(validated):
    assert validated().tail == TailSpec("fast", 5)  # five classes leave one over
    assert validated({("tail",): {"form": "plain"}}).tail.form == "plain"
    assert validated({("tail",): {"candidates": 2}}).tail == TailSpec("fast", 2)
    assert validated({}, TINY_ATM).tail.form == "plain"
    assert validated({("tail",): {"form": "plain"}}, TINY_ATM).tail.form == "plain"
    many = {("model", head, *rest, "num_classes"): 150 for head, *rest in (("decode_head",), ("auxiliary_head", 0), ("auxiliary_head", 1))}  # fmt: skip
    assert validated(many).tail == TailSpec("fast", 16)


def test_one_class_needs_no_fast_tail(validated, refused):
    one = {("model", "decode_head", "num_classes"): 1, ("model", "auxiliary_head"): ABSENT}
    assert validated(one).tail == TailSpec("plain", 1)
    assert "there is only one class" in refused({**one, ("tail",): {"form": "fast"}})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"form": "quick"}, "tail.form = 'quick' | expected one of 'fast', 'plain'"),
        ({"candidates": 0}, "tail.candidates = 0 | out of range: expected an integer from 1 to 5"),
        ({"candidates": 6}, "tail.candidates = 6 | out of range: expected an integer from 1 to 5"),
        ({"candidate": 3}, "tail.candidate = 3 | unknown key 'candidate' | did you mean 'candidates'?"),
        ("fast", "tail = 'fast' | expected a dict"),
    ],
)
def test_tails_that_do_not_fit_are_refused(value, message, refused):
    assert f"x.py: {message}" in refused({("tail",): value})


def test_the_atm_head_has_no_fast_tail(refused):
    message = refused({("tail",): {"form": "fast"}}, TINY_ATM)
    assert "x.py: tail.form = 'fast' | unsupported: ATMHead resizes masks, not scores | use form='plain'" in message
