"""What DSM does to the number of tokens: delay, windows that grow, and the raster on which they lie."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from merge_cases import VIT_B, changes_of, counts_of, dsm, recipe_of, timm_spec, tome

from edgeexport.ops.match_tables import MatchLayout, tables_from_layout
from edgeexport.reductions.merge_spec import MergeSpec


def test_it_waits_then_merges_in_growing_windows_then_globally() -> None:
    changes = changes_of(recipe_of(VIT_B, dsm(13)))
    assert [change.r for change in changes] == [0, 0] + [13] * 10
    assert [(change.requested, change.reason) for change in changes[:2]] == [(0, ""), (0, "")]
    layouts = [change.layout for change in changes[2:]]
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
    assert [change.raster for change in changes] == [False] * 2 + [True] * 5 + [False] * 5
    assert changes[2].reason == "window 7: merged 13"
    assert changes[-1].tokens_out == 197 - 130


def test_without_delay_and_windows_it_is_tome() -> None:
    plain = changes_of(recipe_of(VIT_B, dsm(13, delay=0, window=None)))
    assert plain == changes_of(recipe_of(VIT_B, tome(13)))


def test_windows_grow_past_blocks_that_merge_nothing() -> None:
    merge = replace(dsm(0), r=(0, 0, 0, 6, *[0] * 8))
    (change,) = [change for change in changes_of(recipe_of(VIT_B, merge)) if change.acts]
    assert change.layout == MatchLayout("windows", 197, 1, 6, 14, 8)


def test_a_grid_that_is_not_square() -> None:
    spec = timm_spec(48, 4, 3, grid=(4, 9), num_prefix=0)
    layouts = [change.layout for change in changes_of(recipe_of(spec, dsm(4, 4, delay=0, window=4)))]
    assert [(layout.kind, layout.columns) for layout in layouts if layout is not None] == [
        ("windows", 9),  # a window of 4 holds all rows but not all columns
        ("windows", 6),  # 32 tokens in 6 columns, the last row partial; windows of 5
        ("alternate", 0),
        ("alternate", 0),
    ]


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
    changes = changes_of(recipe_of(timm_spec(48, 6, 3, grid=(rows, columns), num_prefix=prefix), merge))
    assert counts_of(changes)[0] == prefix + rows * columns
    windows_over = False
    for number, change in enumerate(changes):
        assert change.block == number + 1
        assert change.tokens_out == change.working == change.tokens_in - change.r
        assert 0 <= change.r <= change.requested == (r if number >= delay else 0)
        assert change.acts == (change.layout is not None)
        if change.layout is None:
            continue
        tables = tables_from_layout(change.layout)
        assert (tables.tokens_out, tables.R) == (change.tokens_out, change.r)
        assert change.raster == (change.layout.kind == "windows")
        assert not (windows_over and change.raster)
        windows_over |= not change.raster
        if change.raster:
            assert change.layout.window < max(
                change.layout.columns, math.ceil((change.tokens_in - prefix) / change.layout.columns)
            )
