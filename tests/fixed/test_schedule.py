from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexport.errors import RecipeError
from edgeexport.fixed.schedule import dense_recipe, token_schedule
from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec, SegVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import CtsSpec, DtopSpec, Recipe, ReductionSpec, TailSpec


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
        reduction=ReductionSpec(
            cts=None if shared is None else CtsSpec(shared, align, None),
            dtop=None if prune is None else DtopSpec(tuple(sorted(prune.items())), 5),
        ),
        tail=TailSpec("fast", 8),
        extra_outputs=(),
        classes=(),
        palette=(),
        text={},
    )


def test_dense_has_the_final_head_alone() -> None:
    schedule = token_schedule(_recipe())
    assert schedule.grid == (32, 32)
    assert (schedule.num_patches, schedule.tokens_in, schedule.tokens_out) == (1024, 1024, 1024)
    assert [(h.name, h.blocks, h.tokens, h.pruned) for h in schedule.heads] == [("decode_head", (12,), 1024, 0)]
    assert {block.reason for block in schedule.blocks} == {""}


def test_sharing_is_aligned_and_pruning_follows() -> None:
    schedule = token_schedule(_recipe(103, {6: 248, 8: 112}))
    assert (schedule.num_shared_requested, schedule.num_shared, schedule.num_windows) == (103, 104, 256)
    assert [block.tokens_in for block in schedule.blocks] == [712] * 6 + [464] * 2 + [352] * 4
    assert [block.tokens_out for block in schedule.blocks] == [712] * 5 + [464] * 2 + [352] * 5
    reasons = {block.block: block.reason for block in schedule.blocks if block.reason}
    assert reasons == {1: "shared 104 windows", 6: "pruned 248 after block 6", 8: "pruned 112 after block 8"}
    assert [(h.name, h.blocks, h.tokens, h.pruned) for h in schedule.heads] == [
        ("auxiliary_head.0", (6,), 712, 248),
        ("auxiliary_head.1", (8,), 464, 112),
        ("decode_head", (12,), 352, 0),
    ]


def test_align_1_keeps_the_published_count() -> None:
    assert token_schedule(_recipe(103, align=1)).tokens_in == 715


def test_zero_counts_leave_no_stage() -> None:
    schedule = token_schedule(_recipe(0, {6: 0, 8: 100}))
    assert (schedule.num_shared, schedule.num_windows) == (0, 0)
    assert [head.blocks for head in schedule.heads] == [(8,), (12,)]
    assert token_schedule(_recipe(0, {6: 0, 8: 0})) == token_schedule(_recipe())


def test_dense_recipe_removes_every_reduction() -> None:
    assert token_schedule(dense_recipe(_recipe(103, {6: 248}))) == token_schedule(_recipe())


def test_sharing_and_pruning_in_block_1_are_both_told() -> None:
    recipe = _recipe(8, {1: 10})
    recipe = replace(recipe, model=replace(recipe.model, auxiliary_heads=(_head("PruneHead", (1,)),)))
    assert token_schedule(recipe).blocks[0].reason == "shared 8 windows; pruned 10 after block 1"


def test_non_square_grid_and_class_token() -> None:
    schedule = token_schedule(_recipe(8, size=(384, 640), cls_token=True))
    assert (schedule.grid, schedule.num_patches, schedule.num_windows) == ((24, 40), 960, 240)
    assert (schedule.tokens_in, schedule.num_prefix) == (936, 1)


def test_blocks_after_the_deepest_read_one_do_not_run() -> None:
    assert len(token_schedule(_recipe(final=_head("PruneHead", (10,)))).blocks) == 10


def test_atm_head_reads_three_blocks() -> None:
    head = token_schedule(_recipe(103, final=_head("ATMHead", (12, 8, 6)))).heads[-1]
    assert (head.blocks, head.tokens) == ((12, 8, 6), 712)


@given(
    shared=st.integers(0, 256),
    align=st.sampled_from([1, 2, 4, 8]),
    k1=st.integers(0, 127),
    k2=st.integers(0, 127),
)
def test_counts_add_up(shared: int, align: int, k1: int, k2: int) -> None:
    schedule = token_schedule(_recipe(shared, {6: k1, 8: k2}, align=align))
    assert schedule.num_shared >= shared
    assert schedule.tokens_in == 1024 - 3 * schedule.num_shared
    assert schedule.tokens_out == schedule.tokens_in - k1 - k2
    for before, after in zip(schedule.blocks, schedule.blocks[1:], strict=False):
        assert before.tokens_out == after.tokens_in
    assert sum(head.pruned for head in schedule.heads) == k1 + k2
    assert len(schedule.heads) == 1 + bool(k1) + bool(k2)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (_recipe(prune={8: 1025}), "reduction.dtop.prune[8] = 1025 | exceeds the 1024 tokens entering block 8"),
        (_recipe(103, {6: 712}), "reduction.dtop.prune[6] = 712 | leaves none of the 712 tokens"),
        (_recipe(103, {6: 400, 8: 312}), "reduction.dtop.prune[8] = 312 | leaves none of the 312 tokens"),
        (_recipe(prune={6: -1}), "reduction.dtop.prune[6] = -1 | is negative"),
        (_recipe(prune={7: 5}), "no auxiliary head reads block 7 (heads read: 6, 8)"),
        (_recipe(prune={8: 5}, final=_head("PruneHead", (7,))), "the final head reads block 7"),
        (_recipe(prune={8: 5}, final=_head("ATMHead", (12, 8, 6))), "ATMHead reads 3 blocks and cannot follow"),
        (_recipe(-1), "reduction.cts.num_shared = -1 | out of range"),
        (_recipe(257), "reduction.cts.num_shared = 257 | out of range: the image has 256 windows"),
        (_recipe(256, align=48), "never leaves a multiple of 48 tokens"),
        (_recipe(8, size=(528, 512)), "does not divide into 2 x 2 windows | use an input.shape"),
        (_recipe(size=(500, 512)), "input.shape | 500 x 512 pixels do not divide into 16 x 16 patches"),
    ],
)
def test_impossible_counts(recipe: Recipe, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        token_schedule(recipe)
    assert str(error.value).startswith("recipes/r.py: ")
    assert message in str(error.value)
