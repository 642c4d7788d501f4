# ruff: noqa: E501 - whole messages are asserted, one case a line
"""CTS: a recipe's ``reduction.cts``, and what it does to the number of tokens."""

from __future__ import annotations

import pytest
from recipe_cases import TINY_ATM

from edgeexport.errors import CheckpointError
from edgeexport.reductions import REDUCTIONS
from edgeexport.reductions.cts import CtsSpec, ShareChange
from edgeexport.tokens.changes import Cut

R = ("reduction",)
CTS = {"num_shared": 5, "align_tokens": 1}


def changes_of(recipe) -> tuple[ShareChange, ...]:
    facts = recipe.facts
    return REDUCTIONS["cts"].changes(recipe.reductions["cts"], facts, facts.num_tokens, recipe.place_of("cts"))


def test_defaults(validated):
    assert validated({R: {"cts": {"num_shared": 5}}}).reductions == {"cts": CtsSpec(5, 8, None)}


def test_sharing_nothing_is_valid_and_no_step(validated):
    recipe = validated({R: {"cts": {"num_shared": 0}}})
    assert recipe.reductions == {"cts": CtsSpec(0, 8, None)}
    assert changes_of(recipe) == ()
    assert not REDUCTIONS["cts"].uses_network(recipe.reductions["cts"])


def test_a_separate_policy_is_cut_off_at_its_choice(validated):
    spec = validated({R: {"cts": {**CTS, "policy": "separate"}}}).reductions["cts"]
    assert spec == CtsSpec(5, 1, None, "separate")
    assert REDUCTIONS["cts"].separate(spec) == "shared_windows"
    assert REDUCTIONS["cts"].separate(CtsSpec(5, 1, None)) is None
    assert REDUCTIONS["cts"].separate(CtsSpec(0, 1, None, "separate")) is None  # no network runs


def test_every_window_that_shares_saves_three_tokens(validated):
    """64 patches in 16 windows; five windows leave 49 tokens, eight the next multiple of 8."""
    for align, shared in ((1, 5), (8, 8)):
        recipe = validated({R: {"cts": {"num_shared": 5, "align_tokens": align}}})
        (change,) = changes_of(recipe)
        left = 64 - 3 * shared
        assert change == ShareChange(block=1, cut=Cut.EMBEDDING, tokens_in=64, tokens_out=left, working=left,
                                     reason=f"shared {shared} windows", windows=16, requested=5, shared=shared)  # fmt: skip
        assert change.acts


def test_cts_goes_with_the_atm_head_too(validated):
    assert validated({R: {"cts": CTS}}, TINY_ATM).reductions == {"cts": CtsSpec(5, 1, None)}


def test_a_policy_checkpoint_is_relative_to_the_recipe(validated, refused, write):
    weights = write("policy/p.pth", "")
    spec = validated({R: {"cts": {**CTS, "policy_checkpoint": "policy/p.pth"}}}).reductions["cts"]
    assert spec.policy_checkpoint == weights
    message = refused({R: {"cts": {**CTS, "policy_checkpoint": "q.pth"}}}, kind=CheckpointError)
    assert "x.py: reduction.cts.policy_checkpoint = 'q.pth' | no such file: " in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"cts": {**CTS, "policy": "seperate"}},
            "reduction.cts.policy = 'seperate' | expected one of 'inside', 'separate' | did you mean 'separate'?",
        ),
        ({"cts": {}}, "reduction.cts | required key 'num_shared' is missing"),
        ({"cts": 5}, "reduction.cts = 5 | expected a dict"),
        ({"cts": {**CTS, "num_share": 3}}, "reduction.cts.num_share = 3 | unknown key 'num_share' | did you mean 'num_shared'?"),
        ({"cts": {"num_shared": -1}}, "reduction.cts.num_shared = -1 | out of range: expected an integer of at least 0"),
        ({"cts": {"num_shared": True}}, "reduction.cts.num_shared = True | expected an integer of at least 0, found a bool"),
        ({"cts": {"num_shared": 17}}, "reduction.cts.num_shared = 17 | exceeds the 16 windows of 2x2 patches in 128x128 pixels | use 0 to 16"),
        ({"cts": {**CTS, "align_tokens": 0}}, "reduction.cts.align_tokens = 0 | out of range: expected an integer of at least 1"),
        ({"cts": {"num_shared": 15, "align_tokens": 64}}, "reduction.cts.num_shared = 15 | sharing 15 to 16 windows never leaves a multiple of 64 tokens; no number of windows does | use align_tokens=1"),
        ({"cts": {"num_shared": 15, "align_tokens": 10}}, "reduction.cts.num_shared = 15 | sharing 15 to 16 windows never leaves a multiple of 10 tokens; the largest that does is 8 | use num_shared <= 8, or align_tokens=1"),
    ],
)  # fmt: skip
def test_counts_that_do_not_fit_are_refused(given, message, refused):
    assert f"x.py: {message}" in refused({R: given})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 112, 128), "x.py: input.shape = (1, 3, 112, 128) | the height 112 is not divisible by 32, the stride of CTS's policy network and two patches of 16 | use 96 or 128"),
        ((1, 3, 128, 16), "x.py: input.shape = (1, 3, 128, 16) | the width 16 is not divisible by 32, the stride of CTS's policy network and two patches of 16 | use 32"),
        ((1, 3, 100, 128), "the height 100 is not divisible by 32"),
    ],
)  # fmt: skip
def test_cts_refuses_images_that_its_windows_do_not_cover(shape, message, refused):
    assert message in refused({R: {"cts": CTS}, ("input", "shape"): shape})


def test_without_cts_the_patch_size_decides(validated):
    assert validated({("input", "shape"): (1, 3, 112, 16)}).input.height == 112


def test_cts_works_on_images_that_are_not_square(validated):
    assert validated({R: {"cts": CTS}, ("input", "shape"): (2, 3, 64, 160)}).reductions["cts"] == CtsSpec(5, 1, None)


def test_cts_refuses_patches_that_its_windows_do_not_fit(refused):
    message = refused({R: {"cts": CTS}, ("model", "backbone", "patch_size"): 8})
    assert "CTS needs patches of 16 pixels, found patch_size = 8" in message
