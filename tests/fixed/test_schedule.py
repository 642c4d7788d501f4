from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from merge_cases import SD_BLOCK, VIT_S, recipe_of, segvit_spec, tome

from edgeexport.errors import RecipeError
from edgeexport.fixed.schedule import dense_recipe, token_schedule
from edgeexport.fixed.tokens import account
from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec, SegVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.ops.match_tables import MatchLayout
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts import CtsSpec
from edgeexport.reductions.dtop import DtopSpec
from edgeexport.tokens.changes import BranchTokens, Cut


def _head(type_: str, stages: tuple[int, ...]) -> HeadSpec:
    return HeadSpec(type_, 768, 384, 3, 12, 150, stages, None)


def _recipe(
    shared: int | None = None,
    prune: dict[int, int] | None = None,
    size: tuple[int, int] = (512, 512),
    align: int = 8,
    final: HeadSpec | None = None,
    cls_token: bool = False,
) -> Recipe:
    backbone = BackboneSpec(
        "ViT_prune", size, 16, 3, 768, 12, 12, 4.0, True, True, 1e-6, False, cls_token, "bicubic", (5, 7, 11)
    )
    reductions: dict[str, object] = {}
    if shared is not None:
        reductions["cts"] = CtsSpec(shared, align, None)
    if prune is not None:
        reductions["dtop"] = DtopSpec(tuple(sorted(prune.items())), 5)
    return Recipe(
        name="r",
        path=Path("recipes/r.py"),
        description="",
        model=SegVitSpec(
            "EncoderDecoderPrune",
            backbone,
            final or _head("PruneHead", (12,)),
            (_head("PruneHead", (6,)), _head("PruneHead", (8,))),
        ),
        checkpoint=None,
        seed=0,
        input=InputSpec(1, *size, None),
        output="class_map",
        reductions=reductions,
        tail=TailSpec("fast", 8),
        extra_outputs=(),
        classes=(),
        palette=(),
        text={},
    )


def _heads(recipe: Recipe) -> list[tuple[str, tuple[int, ...], int, int]]:
    """The heads that are executed: name, blocks read, tokens seen, tokens that leave there."""
    return [(head.name, head.blocks, head.tokens, head.pruned) for head in account(recipe).reduced.heads]


def test_dense_has_the_final_head_alone() -> None:
    schedule = token_schedule(_recipe())
    assert (schedule.facts.grid, schedule.facts.num_patches) == ((32, 32), 1024)
    assert (schedule.embedded, schedule.tokens_in, schedule.tokens_out) == (1024, 1024, 1024)
    assert (schedule.changes, schedule.acting, schedule.exits) == ({}, (), ())
    assert {block.reason for block in schedule.blocks} == {""}
    assert {block.branches for block in schedule.blocks} == {(BranchTokens(1024, 1024),) * 2}
    assert _heads(_recipe()) == [("decode_head", (12,), 1024, 0)]


def test_sharing_is_aligned_and_pruning_follows() -> None:
    recipe = _recipe(103, {6: 248, 8: 112})
    schedule = token_schedule(recipe)
    (shared,) = schedule.changes["cts"]
    assert (shared.requested, shared.shared, shared.windows) == (103, 104, 256)
    assert [block.tokens_in for block in schedule.blocks] == [712] * 6 + [464] * 2 + [352] * 4
    assert [block.tokens_out for block in schedule.blocks] == [712] * 5 + [464] * 2 + [352] * 5
    # Tokens leave after their block, whose branches still run on all of them.
    assert [block.working for block in schedule.blocks] == [block.tokens_in for block in schedule.blocks]
    reasons = {block.block: block.reason for block in schedule.blocks if block.reason}
    assert reasons == {1: "shared 104 windows", 6: "pruned 248 after block 6", 8: "pruned 112 after block 8"}
    acting = [(key, change.block, change.cut) for key, change in schedule.acting]
    assert acting == [("cts", 1, Cut.EMBEDDING), ("dtop", 6, Cut.EXIT), ("dtop", 8, Cut.EXIT)]
    assert [(item.block, item.tokens, item.pruned) for item in schedule.exits] == [(6, 712, 248), (8, 464, 112)]
    assert _heads(recipe) == [
        ("auxiliary_head.0", (6,), 712, 248),
        ("auxiliary_head.1", (8,), 464, 112),
        ("decode_head", (12,), 352, 0),
    ]


def test_align_1_keeps_the_published_count() -> None:
    assert token_schedule(_recipe(103, align=1)).tokens_in == 715


def test_zero_counts_leave_no_stage() -> None:
    recipe = _recipe(0, {6: 0, 8: 100})
    assert token_schedule(recipe).changes["cts"] == ()
    assert [blocks for _, blocks, _, _ in _heads(recipe)] == [(8,), (12,)]
    nothing, dense = token_schedule(_recipe(0, {6: 0, 8: 0})), token_schedule(_recipe())
    assert nothing.changes == {"cts": (), "dtop": ()}
    assert (nothing.facts, nothing.blocks, nothing.acting) == (dense.facts, dense.blocks, ())


def test_dense_recipe_removes_every_reduction() -> None:
    assert token_schedule(dense_recipe(_recipe(103, {6: 248}))) == token_schedule(_recipe())


def test_dense_recipe_keeps_the_outputs_that_the_host_gives_by_itself() -> None:
    recipe = replace(_recipe(103, {6: 248}), extra_outputs=("shared_windows", "uncertified_pixels", "pruned_tokens_6"))
    assert dense_recipe(recipe).extra_outputs == ("uncertified_pixels",)
    merged = recipe_of(VIT_S, tome(13), extra_outputs=("source", "size"))
    dense = dense_recipe(merged)
    assert (dense.reductions, dense.extra_outputs) == ({}, ())
    assert dense.model == merged.model


def test_sharing_and_pruning_in_block_1_are_both_told() -> None:
    recipe = _recipe(8, {1: 10})
    recipe = replace(recipe, model=replace(recipe.model, auxiliary_heads=(_head("PruneHead", (1,)),)))
    (first, *_) = token_schedule(recipe).blocks
    assert first.reason == "shared 8 windows; pruned 10 after block 1"
    assert (first.tokens_in, first.tokens_out) == (1000, 990)


def test_non_square_grid_and_class_token() -> None:
    schedule = token_schedule(_recipe(8, size=(384, 640), cls_token=True))
    assert (schedule.facts.grid, schedule.facts.num_patches) == ((24, 40), 960)
    assert schedule.changes["cts"][0].windows == 240
    assert (schedule.embedded, schedule.facts.prefix, schedule.tokens_in) == (936, 1, 937)


def test_blocks_after_the_deepest_read_one_do_not_run() -> None:
    assert len(token_schedule(_recipe(final=_head("PruneHead", (10,)))).blocks) == 10


def test_atm_head_reads_three_blocks() -> None:
    assert _heads(_recipe(103, final=_head("ATMHead", (12, 8, 6)))) == [("decode_head", (12, 8, 6), 712, 0)]


@given(
    shared=st.integers(0, 256),
    align=st.sampled_from([1, 2, 4, 8]),
    k1=st.integers(0, 127),
    k2=st.integers(0, 127),
)
def test_counts_add_up(shared: int, align: int, k1: int, k2: int) -> None:
    schedule = token_schedule(_recipe(shared, {6: k1, 8: k2}, align=align))
    used = sum(change.shared for change in schedule.changes["cts"])
    assert used >= shared
    assert schedule.tokens_in == 1024 - 3 * used
    assert schedule.tokens_out == schedule.tokens_in - k1 - k2
    for before, after in pairwise(schedule.blocks):
        assert before.tokens_out == after.tokens_in
    assert sum(item.pruned for item in schedule.exits) == k1 + k2
    assert len(schedule.exits) == bool(k1) + bool(k2)
    assert len(schedule.acting) == bool(used) + bool(k1) + bool(k2)


def test_merging_for_good_splits_a_block() -> None:
    """Attention runs on what enters, everything after it on what is left."""
    schedule = token_schedule(recipe_of(VIT_S, tome((3, 0) + (5,) * 10)))
    found = [(block.tokens_in, block.tokens_out, block.branches) for block in schedule.blocks[:3]]
    assert found == [
        (197, 194, (BranchTokens(197, 197), BranchTokens(194, 194))),
        (194, 194, (BranchTokens(194, 194), BranchTokens(194, 194))),
        (194, 189, (BranchTokens(194, 194), BranchTokens(189, 189))),
    ]
    assert (schedule.embedded, schedule.tokens_in, schedule.tokens_out) == (196, 197, 144)


@pytest.mark.parametrize(("cls_token", "shared"), [(False, 0), (True, 0), (False, 104)])
def test_merging_around_blocks_returns_every_token(cls_token: bool, shared: int) -> None:
    """Whole blocks run on the merged tokens, also where others shared tokens before."""
    cts = CtsSpec(shared, 8, None) if shared else None
    merge = tome(300, dense="tome", metric="x")
    schedule = token_schedule(recipe_of(segvit_spec(cls_token), merge, cts=cts))
    count = 1024 + cls_token - 3 * shared
    for block in schedule.blocks:
        assert (block.tokens_in, block.tokens_out, block.working) == (count, count, count - 300)
        assert block.branches == (BranchTokens(count - 300, count - 300),) * 2
        assert block.reason.endswith("merged 300, unmerged after")
    assert schedule.changes["tome"][0].layout == MatchLayout("alternate", count, int(cls_token), 300)


def test_merging_around_branches_leaves_norms_as_they_were() -> None:
    (block,) = token_schedule(recipe_of(SD_BLOCK, tome(2048, 1, dense="sd", metric="x"))).blocks
    assert (block.tokens_in, block.tokens_out, block.working) == (4096, 4096, 2048)
    assert block.branches == (BranchTokens(4096, 2048),) * 3


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (_recipe(prune={8: 1025}), "reduction.dtop.prune[8] = 1025 | exceeds the 1024 tokens entering block 8"),
        (_recipe(103, {6: 712}), "reduction.dtop.prune[6] = 712 | leaves none of the 712 tokens"),
        (_recipe(103, {6: 400, 8: 312}), "reduction.dtop.prune[8] = 312 | leaves none of the 312 tokens"),
        (_recipe(prune={6: -1}), "reduction.dtop.prune[6] = -1 | is negative"),
        (_recipe(prune={7: 5}), "no auxiliary head reads block 7 (heads read: 6, 8)"),
        (_recipe(prune={8: 5}, final=_head("PruneHead", (7,))), "the final head reads block 7"),
        (_recipe(prune={8: 5}, final=_head("ATMHead", (12, 8, 6))), "the final head reads 3 blocks and cannot follow"),
        (_recipe(-1), "reduction.cts.num_shared = -1 | out of range: the image has 256 windows"),
        (
            _recipe(257),
            "num_shared = 257 | exceeds the 256 windows of 2x2 patches in 512x512 pixels | use 0 to 256",
        ),
        (_recipe(256, align=48), "never leaves a multiple of 48 tokens"),
        (_recipe(8, size=(528, 512)), "does not divide into 2 x 2 windows | use an input.shape"),
    ],
)
def test_impossible_counts(recipe: Recipe, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        token_schedule(recipe)
    assert str(error.value).startswith("recipes/r.py: ")
    assert message in str(error.value)
