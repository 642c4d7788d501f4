# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

import pytest
from recipe_cases import TINY, TINY_ATM, TINY_CLIP, TINY_DIFFUSION, TINY_TIMM

from edgeexport.reductions.merge_spec import MergeSpec

R = ("reduction",)
AVERAGING = {("model", "global_pool"): "avg"}
R8 = (8,) * 6


@pytest.mark.parametrize("base", [TINY_TIMM, TINY_DIFFUSION, TINY])
@pytest.mark.parametrize("given", [None, {}, {"tome": None}, {"dsm": None, "tome": None}])
def test_nothing_asked_for_merges_nothing(base, given, validated):
    assert validated({R: given}, base).reductions == {}


def test_tome_on_a_classifier(validated):
    assert validated({R: {"tome": {"r": 8}}}, TINY_TIMM).reductions == {"tome": MergeSpec("tome", R8)}
    given = {"r": (4, 1.0), "proportional_attention": False, "metric": "q", "pool": "size_weighted", "dense": False}
    merge = validated({R: {"tome": given}, **AVERAGING}, TINY_TIMM).reductions["tome"]
    assert merge == MergeSpec("tome", (0, 1, 3, 4, 6, 8), False, "size_weighted", "q")


def test_merging_nothing_is_valid(validated):
    assert validated({R: {"tome": {"r": 0}}}, TINY_TIMM).reductions["tome"] == MergeSpec("tome", (0,) * 6)


def test_dsm_defaults_are_the_papers(validated):
    merge = validated({R: {"dsm": {"r": 8}}}, TINY_TIMM).reductions["dsm"]
    assert merge == MergeSpec("dsm", R8, delay=1, window=7, growth=1)
    deeper = validated({R: {"dsm": {"r": 8}}, ("model", "depth"): 24}, TINY_TIMM).reductions["dsm"]
    assert deeper.delay == 4


def test_dsm_is_read(validated):
    given = {"r": 8, "delay": 6, "window": 8, "growth": 0, "metric": "x", "proportional_attention": False}
    merge = validated({R: {"dsm": given}}, TINY_TIMM).reductions["dsm"]
    assert merge == MergeSpec("dsm", R8, False, metric="x", delay=6, window=8, growth=0)
    bare = validated({R: {"dsm": {"r": 8, "delay": 0, "window": None}}}, TINY_TIMM).reductions["dsm"]
    assert bare == MergeSpec("dsm", R8, delay=0, window=None)


def test_the_default_window_fits_a_small_grid(validated):
    small = {("model", "img_size"): (32, 64), ("input", "shape"): (1, 3, 32, 64)}
    merge = validated({R: {"dsm": {"r": 2}}, **small}, TINY_TIMM).reductions["dsm"]
    assert merge.window == 4


def test_clips_merge_without_windows(validated):
    assert validated({R: {"tome": {"r": 8}}}, TINY_CLIP).reductions["tome"] == MergeSpec("tome", R8)
    merge = validated({R: {"dsm": {"r": 8, "window": None}}}, TINY_CLIP).reductions["dsm"]
    assert merge == MergeSpec("dsm", R8, delay=1, window=None)


@pytest.mark.parametrize("base", [TINY, TINY_ATM])
@pytest.mark.parametrize(
    "given", [{"r": 8, "unmerge": "block"}, {"r": 8, "dense": True}, {"r": 8, "metric": "x", "variant": "tome"}]
)
def test_tome_around_the_blocks_of_segvit(base, given, validated):
    merge = validated({R: {"tome": given}}, base).reductions["tome"]
    assert merge == MergeSpec("tome", (8,) * 4, metric="x", dense="tome")


def test_the_variants_of_dense_merging(validated):
    sd = MergeSpec("tome", (8,), False, metric="x", dense="sd")
    assert validated({R: {"tome": {"r": 8}}}, TINY_DIFFUSION).reductions["tome"] == sd
    assert validated({R: {"tome": {"r": [8], "variant": "sd"}}}, TINY_DIFFUSION).reductions["tome"] == sd
    merge = validated({R: {"tome": {"r": 8, "variant": "sd"}}}, TINY).reductions["tome"]
    assert merge == MergeSpec("tome", (8,) * 4, False, metric="x", dense="sd")


@pytest.mark.parametrize(
    ("base", "given", "message"),
    [
        (TINY_TIMM, {"tomme": {}}, "reduction.tomme = {} | unknown key 'tomme' | did you mean 'tome'?"),
        (TINY_TIMM, {"tome": 8}, "reduction.tome = 8 | expected a dict"),
        (TINY_TIMM, {"tome": {}}, "reduction.tome | required key 'r' is missing | add r=8 (tokens to merge in each block)"),
        (TINY_TIMM, {"dsm": {}}, "reduction.dsm | required key 'r' is missing"),
        (TINY_TIMM, {"tome": {"r": 8, "prop_attn": True}}, "reduction.tome.prop_attn = True | unknown key 'prop_attn'"),
        (TINY_TIMM, {"tome": {"r": 8, "delay": 2}}, "reduction.tome.delay = 2 | unknown key 'delay'"),
        (TINY_TIMM, {"dsm": {"r": 8, "dense": True}}, "reduction.dsm.dense = True | unknown key 'dense'"),
        (TINY_TIMM, {"tome": {"r": -1}}, "reduction.tome.r = -1 | out of range: expected an integer of at least 0"),
        (TINY_TIMM, {"tome": {"r": 8.5}}, "reduction.tome.r = 8.5 | expected an integer of at least 0, found a float"),
        (TINY_TIMM, {"tome": {"r": [1] * 7}}, "reduction.tome.r = [1, 1, 1, 1, 1, 1, 1] | has 7 entries, but the model has 6 blocks | give at most 6, one per block"),
        (TINY_TIMM, {"dsm": {"r": [1, -1, 1]}}, "reduction.dsm.r[1] = -1 | out of range"),
        (TINY_DIFFUSION, {"tome": {"r": [8, 8]}}, "reduction.tome.r = [8, 8] | has 2 entries, but the model has 1 block | give at most 1"),
        (TINY_TIMM, {"tome": {"r": 8, "metric": "keys"}}, "reduction.tome.metric = 'keys' | expected one of 'k', 'x', 'q', 'v'"),
        (TINY_TIMM, {"tome": {"r": 8, "proportional_attention": 1}}, "reduction.tome.proportional_attention = 1 | expected True or False"),
        (TINY_TIMM, {"tome": {"r": 8, "pool": "avg"}}, "reduction.tome.pool = 'avg' | expected one of 'mean', 'size_weighted'"),
        (TINY_TIMM, {"tome": {"r": 8, "pool": "size_weighted"}}, "reduction.tome.pool = 'size_weighted' | unsupported: a classifier does not average its tokens: its global_pool is 'token' | supported: 'mean'"),
        (TINY, {"tome": {"r": 8, "pool": "size_weighted"}}, "reduction.tome.pool = 'size_weighted' | unsupported: SegViT does not average its tokens: it predicts for every token | supported: 'mean'"),
        (TINY_TIMM, {"tome": {"r": 8, "dense": True}}, "reduction.tome.dense = True | unsupported: a classifier reads merged tokens, none has to come back | leave dense out"),
        (TINY_TIMM, {"tome": {"r": 8, "variant": "sd"}}, "reduction.tome.variant = 'sd' | means nothing without unmerge='block' | leave it out"),
        (TINY, {"tome": {"r": 8, "dense": True, "unmerge": "end"}}, "reduction.tome.dense = True | contradicts unmerge='end'; it is the older name of unmerge='block' | leave dense out"),
        (TINY, {"tome": {"r": 8, "unmerge": "never"}}, "reduction.tome.unmerge = 'never' | expected one of 'end', 'block'"),
        (TINY, {"tome": {"r": 8, "unmerge": "end", "variant": "sd"}}, "reduction.tome.variant = 'sd' | means nothing without unmerge='block'"),
        (TINY_TIMM, {"tome": {"r": 8, "unmerge": "end"}}, "reduction.tome.unmerge = 'end' | unsupported: a classifier reads merged tokens, none has to come back | leave unmerge out"),
        (TINY_DIFFUSION, {"tome": {"r": 8, "unmerge": "end"}}, "reduction.tome.unmerge = 'end' | unsupported: a diffusion block needs every token back | supported: 'block'"),
        (TINY_DIFFUSION, {"tome": {"r": 8, "dense": False}}, "reduction.tome.dense = False | unsupported: a diffusion block needs every token back | supported: True"),
        (TINY, {"tome": {"r": 8, "metric": "k", "unmerge": "block"}}, "reduction.tome.metric = 'k' | unsupported: tokens are matched before the block, where its k is not known yet | supported: 'x'"),
        (TINY, {"tome": {"r": 8, "variant": "dense"}}, "reduction.tome.variant = 'dense' | expected one of 'tome', 'sd'"),
        (TINY_DIFFUSION, {"tome": {"r": 8, "variant": "tome"}}, "reduction.tome.variant = 'tome' | unsupported: a diffusion block merges around its branches, as published | supported: 'sd'"),
        (TINY_DIFFUSION, {"tome": {"r": 0, "variant": "tome"}}, "reduction.tome.variant = 'tome' | unsupported"),
        (TINY_DIFFUSION, {"tome": {"r": 8, "proportional_attention": True}}, "reduction.tome.proportional_attention = True | unsupported: the Stable Diffusion variant attends without sizes | supported: False"),
        (TINY_DIFFUSION, {"dsm": {"r": 8}}, "reduction.dsm = {'r': 8} | unsupported: DSM is for classifiers, and a diffusion block needs every token back; a diffusion block takes tome | leave it out"),
        (TINY_TIMM, {"dsm": {"r": 8, "delay": 7}}, "reduction.dsm.delay = 7 | out of range: expected an integer from 0 to 6"),
        (TINY_TIMM, {"dsm": {"r": 8, "delay": -1}}, "reduction.dsm.delay = -1 | out of range: expected an integer from 0 to 6"),
        (TINY_TIMM, {"dsm": {"r": 8, "growth": -1}}, "reduction.dsm.growth = -1 | out of range: expected an integer of at least 0"),
        (TINY_TIMM, {"dsm": {"r": 8, "window": 9}}, "reduction.dsm.window = 9 | exceeds the grid of 8x8 patches | use 2 to 8, or None for no windows"),
        (TINY_TIMM, {"dsm": {"r": 8, "window": 1}}, "reduction.dsm.window = 1 | out of range: expected an integer of at least 2"),
        (TINY_CLIP, {"dsm": {"r": 8, "window": 4}}, "reduction.dsm.window = 4 | windows need a grid of rows and columns, found 4x8x8 patches | write window=None, or use tome"),
        (TINY_CLIP, {"dsm": {"r": 8}}, "reduction.dsm.window = 7 | windows need a grid of rows and columns, found 4x8x8 patches"),
        (TINY_TIMM, {"cts": {"num_shared": 4}}, "reduction.cts = {'num_shared': 4} | unsupported: CTS is for SegViT and Segmenter; a timm ViT takes tome, dsm"),
        (TINY_TIMM, {"dtop": {"prune": {2: 4}}}, "reduction.dtop = {'prune': {2: 4}} | unsupported: DToP is for SegViT; a timm ViT takes tome, dsm"),
        (TINY_DIFFUSION, {"cts": {"num_shared": 4}}, "reduction.cts = {'num_shared': 4} | unsupported: CTS is for SegViT and Segmenter; a diffusion block takes tome | leave it out"),
        (TINY_TIMM, {"tome": {"r": 8}, "dsm": {"r": 8}}, "dsm and tome cannot be combined: one recipe merges by one method"),
        (TINY, {"tome": {"r": 8}, "cts": {"num_shared": 4}}, "tome and cts cannot be combined: one recipe merges by one method, and merging is not defined on shared or pruned tokens | leave tome or cts out"),
        (TINY, {"tome": {"r": 8}, "dtop": {"prune": {2: 4}}}, "tome and dtop cannot be combined"),
        (TINY, {"dsm": {"r": 8}, "cts": {"num_shared": 4}}, "dsm and cts cannot be combined"),
    ],
)  # fmt: skip
def test_merging_that_does_not_fit_is_refused(base, given, message, refused):
    found = refused({R: given}, base)
    assert message in found
    assert "x.py: reduction" in found


def test_windows_need_more_than_one_row(refused):
    line = {("model", "img_size"): (8, 64), ("input", "shape"): (1, 3, 8, 64)}
    assert "found 1x8 patches" in refused({R: {"dsm": {"r": 2}}, **line}, TINY_TIMM)


def test_windows_fit_the_shorter_side(refused):
    wide = {("model", "img_size"): (32, 128), ("input", "shape"): (1, 3, 32, 128)}
    message = refused({R: {"dsm": {"r": 2, "window": 5}}, **wide}, TINY_TIMM)
    assert "reduction.dsm.window = 5 | exceeds the grid of 4x16 patches | use 2 to 4" in message


def test_cells_need_an_even_grid(refused, validated):
    odd = {("model", "grid"): (4, 5), ("input", "shape"): (1, 20, 24)}
    message = refused({R: {"tome": {"r": 4}}, **odd}, TINY_DIFFUSION)
    assert message.endswith(
        "reduction.tome.variant = 'sd' | needs a grid of 2x2 cells, found 4x5 patches | use even sides"
    )
    odd = {("input", "shape"): (1, 3, 144, 128)}
    message = refused({R: {"tome": {"r": 4, "variant": "sd"}}, **odd}, TINY)
    assert message.endswith("found 9x8 patches | use even sides, or variant='tome'")
    assert validated({R: {"tome": {"r": 4, "dense": True}}, **odd}, TINY).reductions["tome"].dense == "tome"


@pytest.mark.parametrize("pooling", ["max", "avgmax", "map"])
def test_only_plain_averages_are_weighted_by_size(pooling, refused):
    changes = {R: {"tome": {"r": 8, "pool": "size_weighted"}}, ("model", "global_pool"): pooling}
    assert f"its global_pool is '{pooling}'" in refused(changes, TINY_TIMM)
