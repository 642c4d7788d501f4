# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import pytest
from recipe_cases import ABSENT, TINY, TINY_ATM, changed

from edgeexport.errors import CheckpointError
from edgeexport.recipe.schema import CtsSpec, DtopSpec, ReductionSpec

R = ("reduction",)
CTS = {"num_shared": 5, "align_tokens": 1}


@pytest.mark.parametrize(
    "given",
    [ABSENT, None, {}, {"cts": None, "dtop": None}, {"dtop": {"prune": {}}}],
)
def test_nothing_asked_for_is_the_dense_model(given, validated):
    base = changed(TINY, {R: None})
    assert validated({R: given}, base).reduction == ReductionSpec()


def test_both_methods_are_read(validated):
    given = {"cts": CTS, "dtop": {"prune": {3: 4, 2: 10}, "protect_per_class": 2}}
    assert validated({R: given}).reduction == ReductionSpec(CtsSpec(5, 1, None), DtopSpec(((2, 10), (3, 4)), 2))


def test_defaults(validated):
    spec = validated({R: {"cts": {"num_shared": 5}, "dtop": {"prune": {2: 0}}}}).reduction
    assert spec == ReductionSpec(CtsSpec(5, 8, None), DtopSpec(((2, 0),), 5))


def test_sharing_nothing_is_valid(validated):
    spec = validated({R: {"cts": {"num_shared": 0}}}).reduction
    assert spec.cts is not None
    assert spec.cts.num_shared == 0


def test_cts_goes_with_the_atm_head_too(validated):
    assert validated({R: {"cts": CTS}}, TINY_ATM).reduction.cts == CtsSpec(5, 1, None)


def test_a_policy_checkpoint_is_relative_to_the_recipe(validated, refused, write):
    weights = write("policy/p.pth", "")
    spec = validated({R: {"cts": {**CTS, "policy_checkpoint": "policy/p.pth"}}}).reduction
    assert spec.cts is not None
    assert spec.cts.policy_checkpoint == weights
    message = refused({R: {"cts": {**CTS, "policy_checkpoint": "q.pth"}}}, kind=CheckpointError)
    assert "x.py: reduction.cts.policy_checkpoint = 'q.pth' | no such file: " in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ctss": {}}, "reduction.ctss = {} | unknown key 'ctss' | did you mean 'cts'?"),
        ([], "reduction = [] | expected a dict | known keys: cts, dsm, dtop, tome"),
        ({"cts": {}}, "reduction.cts | required key 'num_shared' is missing"),
        ({"cts": 5}, "reduction.cts = 5 | expected a dict"),
        ({"cts": {**CTS, "num_share": 3}}, "reduction.cts.num_share = 3 | unknown key 'num_share' | did you mean 'num_shared'?"),
        ({"cts": {"num_shared": -1}}, "reduction.cts.num_shared = -1 | out of range: expected an integer of at least 0"),
        ({"cts": {"num_shared": True}}, "reduction.cts.num_shared = True | expected an integer of at least 0, found a bool"),
        ({"cts": {"num_shared": 17}}, "reduction.cts.num_shared = 17 | exceeds the 16 windows of 2x2 patches in 128x128 pixels | use 0 to 16"),
        ({"cts": {**CTS, "align_tokens": 0}}, "reduction.cts.align_tokens = 0 | out of range: expected an integer of at least 1"),
        ({"cts": {"num_shared": 15, "align_tokens": 64}}, "reduction.cts.num_shared = 15 | sharing 15 to 16 windows never leaves a multiple of 64 tokens; no number of windows does | use align_tokens=1"),
        ({"cts": {"num_shared": 15, "align_tokens": 10}}, "reduction.cts.num_shared = 15 | sharing 15 to 16 windows never leaves a multiple of 10 tokens; the largest that does is 8 | use num_shared <= 8, or align_tokens=1"),
        ({"dtop": {}}, "reduction.dtop | required key 'prune' is missing"),
        ({"dtop": {"prune": 8}}, "reduction.dtop.prune = 8 | expected a dict of block: tokens pruned after it"),
        ({"dtop": {"prun": {}}}, "reduction.dtop.prun = {} | unknown key 'prun' | did you mean 'prune'?"),
        ({"dtop": {"prune": {4: 1}}}, "reduction.dtop.prune[4] = 1 | no auxiliary head reads block 4 | blocks with an auxiliary head: 2, 3"),
        ({"dtop": {"prune": {"2": 1}}}, "reduction.dtop.prune.2 = 1 | a block is an integer, found '2' | blocks with an auxiliary head: 2, 3"),
        ({"dtop": {"prune": {True: 1}}}, "reduction.dtop.prune[True] = 1 | a block is an integer, found True"),
        ({"dtop": {"prune": {2: -1}}}, "reduction.dtop.prune[2] = -1 | out of range: expected an integer of at least 0"),
        ({"dtop": {"prune": {2: 1.0}}}, "reduction.dtop.prune[2] = 1.0 | expected an integer of at least 0, found a float"),
        ({"dtop": {"prune": {2: True}}}, "reduction.dtop.prune[2] = True | expected an integer of at least 0, found a bool"),
        ({"dtop": {"prune": {2: 65}}}, "reduction.dtop.prune[2] = 65 | exceeds the 64 tokens entering block 2 | use a value below 64"),
        ({"dtop": {"prune": {2: 64}}}, "reduction.dtop.prune[2] = 64 | leaves none of the 64 tokens entering block 2 | use a value below 64"),
        ({"dtop": {"prune": {3: 44, 2: 20}}}, "reduction.dtop.prune[3] = 44 | leaves none of the 44 tokens entering block 3 | use a value below 44"),
        ({"cts": CTS, "dtop": {"prune": {2: 50}}}, "reduction.dtop.prune[2] = 50 | exceeds the 49 tokens entering block 2 | use a value below 49"),
        ({"cts": {"num_shared": 5}, "dtop": {"prune": {2: 40}}}, "reduction.dtop.prune[2] = 40 | leaves none of the 40 tokens entering block 2 | use a value below 40"),
        ({"dtop": {"prune": {2: 1}, "protect_per_class": -1}}, "reduction.dtop.protect_per_class = -1 | out of range"),
    ],
)  # fmt: skip
def test_counts_and_blocks_that_do_not_fit_are_refused(given, message, refused):
    assert f"x.py: {message}" in refused({R: given})


@pytest.mark.parametrize("prune", [{2: 63}, {2: 20, 3: 43}, {2: 0, 3: 0}])
def test_one_token_may_be_left(prune, validated):
    spec = validated({R: {"dtop": {"prune": prune}}}).reduction
    assert spec.dtop is not None
    assert dict(spec.dtop.prune) == prune


def test_a_model_without_auxiliary_heads_names_none(refused):
    changes = {R: {"dtop": {"prune": {2: 1}}}, ("model", "auxiliary_head"): ABSENT}
    assert "no auxiliary head reads block 2 | blocks with an auxiliary head: none" in refused(changes)


def test_dtop_needs_prune_heads(refused):
    message = refused({R: {"dtop": {"prune": {3: 1}}}}, TINY_ATM)
    assert "x.py: reduction.dtop = {'prune': {3: 1}} | needs PruneHead, found ATMHead" in message


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
    assert validated({R: {"cts": CTS}, ("input", "shape"): (2, 3, 64, 160)}).reduction.cts == CtsSpec(5, 1, None)


def test_cts_refuses_patches_that_its_windows_do_not_fit(refused):
    message = refused({R: {"cts": CTS}, ("model", "backbone", "patch_size"): 8})
    assert "CTS needs patches of 16 pixels, found patch_size = 8" in message
