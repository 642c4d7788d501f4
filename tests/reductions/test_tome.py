"""What ToMe does to the number of tokens: what every block merges, and what it may merge with what."""

from __future__ import annotations

import pytest
from merge_cases import (
    SD_BLOCK,
    VIDEO_L,
    VIT_B,
    changes_of,
    counts_of,
    published_schedule,
    recipe_of,
    segvit_spec,
    timm_spec,
    tome,
)

from edgeexport.ops.match_tables import MatchLayout
from edgeexport.tokens.changes import Cut


def test_constant_r() -> None:
    changes = changes_of(recipe_of(VIT_B, tome(13)))
    assert counts_of(changes) == [197 - 13 * block for block in range(13)]
    assert all(change.acts for change in changes)
    first = changes[0]
    assert (first.block, first.cut, first.working, first.raster) == (1, Cut.BETWEEN, 184, False)
    assert first.layout == MatchLayout("alternate", 197, 1, 13)
    assert {change.reason for change in changes} == {"merged 13"}


def test_without_merging_every_token_stays() -> None:
    changes = changes_of(recipe_of(VIT_B, tome(0)))
    assert counts_of(changes) == [197] * 13
    assert {(change.acts, change.layout, change.reason) for change in changes} == {(False, None, "")}


@pytest.mark.parametrize(
    ("prefix", "counts"),
    [
        # 64 patches: each block merges at most half of what is left beside the prefix.
        (1, [65, 33, 17, 9, 5]),
        (2, [66, 34, 18, 10, 6]),
        (0, [64, 32, 16, 8, 4]),
    ],
)
def test_more_than_a_block_can_merge_is_clamped(prefix: int, counts: list[int]) -> None:
    spec = timm_spec(48, 4, 3, grid=(8, 8), num_prefix=prefix)
    changes = changes_of(recipe_of(spec, tome(100, 4)))
    assert counts_of(changes) == counts
    assert changes[0].requested == 100
    assert changes[0].reason == "merged 32 (of 100 asked)"


def test_a_block_with_nothing_left_merges_nothing_and_says_so() -> None:
    spec = timm_spec(48, 3, 3, grid=(1, 2), num_prefix=1)
    changes = changes_of(recipe_of(spec, tome((1, 1, 0), 3)))
    assert counts_of(changes) == [3, 2, 2, 2]
    second = changes[1]
    assert (second.r, second.acts, second.layout, second.reason) == (0, False, None, "merged 0 (of 1 asked)")


def test_explicit_lists_skip_blocks() -> None:
    changes = changes_of(recipe_of(VIT_B, tome((3, 0, 5, 1) + (0,) * 8)))
    assert counts_of(changes) == [197, 194, 194, 189, 188, *[188] * 8]
    assert [change.block for change in changes if change.acts] == [1, 3, 4]


def test_falling_schedule_sums_as_published() -> None:
    falling = published_schedule(8, -1.0, 24)
    assert sum(falling) == 181
    assert changes_of(recipe_of(timm_spec(1024, 24, 16), tome(falling, 24)))[-1].tokens_out == 197 - 181


@pytest.mark.parametrize("cls_token", [False, True])
def test_around_blocks_every_token_comes_back(cls_token: bool) -> None:
    changes = changes_of(recipe_of(segvit_spec(cls_token), tome(300, dense="tome", metric="x")))
    count = 1024 + cls_token
    assert counts_of(changes) == [count] * 13
    assert {(change.cut, change.r, change.working, change.reason) for change in changes} == {
        (Cut.AROUND, 300, count - 300, "merged 300, unmerged after")
    }
    assert changes[0].layout == MatchLayout("alternate", count, int(cls_token), 300)


def test_around_blocks_r_is_clamped_to_half() -> None:
    changes = changes_of(recipe_of(segvit_spec(), tome(600, dense="tome", metric="x")))
    assert changes[3].reason == "merged 512 (of 600 asked), unmerged after"


def test_a_diffusion_block_merges_in_cells() -> None:
    (change,) = changes_of(recipe_of(SD_BLOCK, tome(2048, 1, dense="sd", metric="x")))
    assert change.layout == MatchLayout("cells", 4096, 0, 2048, 64)
    assert (change.cut, change.tokens_out, change.working) == (Cut.BRANCHES, 4096, 2048)
    (change,) = changes_of(recipe_of(SD_BLOCK, tome(4000, 1, dense="sd", metric="x")))
    assert (change.r, change.reason) == (3072, "merged 3072 (of 4000 asked), unmerged after")


def test_video_counts_all_time_steps() -> None:
    recipe = recipe_of(VIDEO_L, tome(65, 24))
    changes = changes_of(recipe)
    assert (changes[0].tokens_in, recipe.facts.grid) == (1569, (8, 14, 14))
    assert changes[-1].tokens_out == 1569 - 24 * 65 + sum(65 - change.r for change in changes)
