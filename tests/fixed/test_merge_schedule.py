from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from merge_cases import SD_BLOCK, VIDEO_L, VIT_B, dsm, published_schedule, recipe_of, segvit_spec, timm_spec, tome

from edgeexport.fixed.merge_schedule import MergeSchedule, merge_schedule
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.ops.match_tables import MatchLayout, tables_from_layout
from edgeexport.recipe.schema import CtsSpec, MergeSpec


def _counts(schedule: MergeSchedule) -> list[int]:
    return [step.tokens_in for step in schedule.steps] + [schedule.tokens_out]


def test_constant_tome() -> None:
    schedule = merge_schedule(recipe_of(VIT_B, tome(13)))
    assert _counts(schedule) == [197 - 13 * block for block in range(13)]
    assert (schedule.prefix, schedule.grid, len(schedule.merging)) == (1, (14, 14), 12)
    first = schedule.steps[0]
    assert (first.block, first.merged_tokens, first.raster) == (1, 184, False)
    assert first.layout == MatchLayout("alternate", 197, 1, 13)
    assert {step.reason for step in schedule.steps} == {"merged 13"}


def test_without_merging_every_token_stays() -> None:
    for merge in (None, tome(0)):
        schedule = merge_schedule(recipe_of(VIT_B, merge))
        assert _counts(schedule) == [197] * 13 and schedule.merging == ()
        assert {(step.layout, step.reason) for step in schedule.steps} == {(None, "")}


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
    schedule = merge_schedule(recipe_of(spec, tome(100, 4)))
    assert _counts(schedule) == counts
    assert schedule.steps[0].requested == 100
    assert schedule.steps[0].reason == "merged 32 (of 100 asked)"


def test_a_block_with_nothing_left_merges_nothing_and_says_so() -> None:
    spec = timm_spec(48, 3, 3, grid=(1, 2), num_prefix=1)
    schedule = merge_schedule(recipe_of(spec, tome((1, 1, 0), 3)))
    assert _counts(schedule) == [3, 2, 2, 2]
    last = schedule.steps[1]
    assert (last.r, last.layout, last.reason) == (0, None, "merged 0 (of 1 asked)")


def test_explicit_lists_skip_blocks() -> None:
    schedule = merge_schedule(recipe_of(VIT_B, tome((3, 0, 5, 1) + (0,) * 8)))
    assert _counts(schedule) == [197, 194, 194, 189, 188, *[188] * 8]
    assert [step.block for step in schedule.merging] == [1, 3, 4]


def test_falling_schedule_sums_as_published() -> None:
    falling = published_schedule(8, -1.0, 24)
    spec = timm_spec(1024, 24, 16)
    assert sum(falling) == 181
    assert merge_schedule(recipe_of(spec, tome(falling, 24))).tokens_out == 197 - 181


def test_dsm_waits_then_merges_in_growing_windows_then_globally() -> None:
    schedule = merge_schedule(recipe_of(VIT_B, dsm(13)))
    assert [step.r for step in schedule.steps] == [0, 0] + [13] * 10
    assert [(step.requested, step.reason) for step in schedule.steps[:2]] == [(0, ""), (0, "")]
    layouts = [step.layout for step in schedule.steps[2:]]
    found = [(layout.kind, layout.window, layout.columns) for layout in layouts if layout is not None]
    # Grid 14 x 14, then ceil(sqrt(n)) columns of 183, 170, 157, 144 and 131 tokens; 12 columns fit a window of 12.
    assert found == [
        ("windows", 7, 14),
        ("windows", 8, 14),
        ("windows", 9, 14),
        ("windows", 10, 13),
        ("windows", 11, 12),
        *[("alternate", 0, 0)] * 5,
    ]
    assert [step.raster for step in schedule.steps] == [False] * 2 + [True] * 5 + [False] * 5
    assert schedule.steps[2].reason == "window 7: merged 13"
    assert schedule.tokens_out == 197 - 130


def test_without_delay_and_windows_dsm_is_tome() -> None:
    plain = merge_schedule(recipe_of(VIT_B, dsm(13, delay=0, window=None)))
    assert plain == merge_schedule(recipe_of(VIT_B, tome(13)))


def test_windows_grow_past_blocks_that_merge_nothing() -> None:
    merge = replace(dsm(0), r=(0, 0, 0, 6, *[0] * 8))
    (step,) = merge_schedule(recipe_of(VIT_B, merge)).merging
    assert step.layout == MatchLayout("windows", 197, 1, 6, 14, 8)


def test_a_grid_that_is_not_square() -> None:
    spec = timm_spec(48, 4, 3, grid=(4, 9), num_prefix=0)
    schedule = merge_schedule(recipe_of(spec, dsm(4, 4, delay=0, window=4)))
    layouts = [step.layout for step in schedule.steps]
    assert [(layout.kind, layout.columns) for layout in layouts if layout is not None] == [
        ("windows", 9),  # a window of 4 holds all rows but not all columns
        ("windows", 6),  # 32 tokens in 6 columns, the last row partial; windows of 5
        ("alternate", 0),
        ("alternate", 0),
    ]


@pytest.mark.parametrize(("cls_token", "shared"), [(False, 0), (True, 0), (False, 104)])
def test_dense_merging_returns_every_token(cls_token: bool, shared: int) -> None:
    cts = CtsSpec(shared, 8, None) if shared else None
    merge = tome(300, dense="tome", metric="x")
    schedule = merge_schedule(recipe_of(segvit_spec(cls_token), merge, cts=cts))
    count = 1024 + cls_token - 3 * shared
    assert _counts(schedule) == [count] * 13
    assert {(step.r, step.merged_tokens, step.reason) for step in schedule.steps} == {
        (300, count - 300, "merged 300, unmerged after")
    }
    assert schedule.steps[0].layout == MatchLayout("alternate", count, int(cls_token), 300)


def test_dense_merging_is_clamped_to_half() -> None:
    schedule = merge_schedule(recipe_of(segvit_spec(), tome(600, dense="tome", metric="x")))
    assert schedule.steps[3].reason == "merged 512 (of 600 asked), unmerged after"


def test_diffusion_block_merges_in_cells() -> None:
    (step,) = merge_schedule(recipe_of(SD_BLOCK, tome(2048, 1, dense="sd", metric="x"))).steps
    assert step.layout == MatchLayout("cells", 4096, 0, 2048, 64)
    assert (step.tokens_out, step.merged_tokens) == (4096, 2048)
    (step,) = merge_schedule(recipe_of(SD_BLOCK, tome(4000, 1, dense="sd", metric="x"))).steps
    assert (step.r, step.reason) == (3072, "merged 3072 (of 4000 asked), unmerged after")


def test_video_counts_all_time_steps() -> None:
    schedule = merge_schedule(recipe_of(VIDEO_L, tome(65, 24)))
    assert (schedule.tokens_in, schedule.grid) == (1569, (8, 14, 14))
    assert schedule.tokens_out == 1569 - 24 * 65 + sum(65 - step.r for step in schedule.steps)


def _small(rows: int, columns: int, prefix: int) -> TimmVitSpec:
    return timm_spec(48, 6, 3, grid=(rows, columns), num_prefix=prefix)


@given(
    rows=st.integers(2, 9),
    columns=st.integers(2, 9),
    prefix=st.integers(0, 3),
    r=st.integers(0, 30),
    delay=st.integers(0, 6),
    window=st.none() | st.integers(2, 4),
    growth=st.integers(0, 3),
)
def test_counts_and_tables_agree(
    rows: int, columns: int, prefix: int, r: int, delay: int, window: int | None, growth: int
) -> None:
    merge = MergeSpec("dsm", (r,) * 6, delay=delay, window=window, growth=growth)
    schedule = merge_schedule(recipe_of(_small(rows, columns, prefix), merge))
    assert schedule.tokens_in == prefix + rows * columns
    windows_over = False
    for number, step in enumerate(schedule.steps):
        assert step.block == number + 1
        assert step.tokens_out == step.tokens_in - step.r
        assert 0 <= step.r <= step.requested == (r if number >= delay else 0)
        if number:
            assert step.tokens_in == schedule.steps[number - 1].tokens_out
        if step.layout is None:
            continue
        tables = tables_from_layout(step.layout)
        assert (tables.tokens_out, tables.R) == (step.tokens_out, step.r)
        assert step.raster == (step.layout.kind == "windows")
        assert not (windows_over and step.raster)
        windows_over |= not step.raster
        if step.raster:
            assert step.layout.window < max(
                step.layout.columns, math.ceil((step.tokens_in - prefix) / step.layout.columns)
            )


def test_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import edgeexport.fixed.tokens"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
