"""Index tables of matching: derived a second time from the grid, cell by cell; invariants; refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from match_cases import SIX_LAYOUTS, layouts

from edgeexport.errors import BuildError
from edgeexport.ops.match_tables import MatchLayout, largest_r, tables_from_layout


def grid_of(layout: MatchLayout) -> list[list[int | None]]:
    """The tokens on their grid; None beyond the last."""
    tokens = list(range(layout.prefix, layout.tokens))
    rows = []
    while tokens:
        row, tokens = tokens[: layout.columns], tokens[layout.columns :]
        rows.append(row + [None] * (layout.columns - len(row)))
    return rows


def windows_by_cell(layout: MatchLayout) -> list[list[int]]:
    grid, side, found = grid_of(layout), layout.window, []
    for top in range(0, len(grid), side):
        for left in range(0, layout.columns, side):
            cells = [cell for row in grid[top : top + side] for cell in row[left : left + side]]
            tokens = [cell for cell in cells if cell is not None]
            if tokens:
                found.append(tokens)
    return found


def split_by_hand(layout: MatchLayout) -> list[tuple[list[int], list[int]]]:
    if layout.kind == "alternate":
        rest = range(layout.prefix, layout.tokens)
        return [([i for i in rest if i % 2 == 0], [i for i in rest if i % 2 == 1])]
    if layout.kind == "windows":
        return [(tokens[::2], tokens[1::2]) for tokens in windows_by_cell(layout)]
    grid = grid_of(layout)
    corners = [grid[row][column] for row in range(0, len(grid), 2) for column in range(0, layout.columns, 2)]
    others = [cell for row in grid for cell in row if cell not in corners]
    return [(others, corners)]  # type: ignore[list-item]


@settings(deadline=None, max_examples=200)
@given(layouts())
def test_tables_hold_what_the_grid_shows(layout: MatchLayout) -> None:
    tables = tables_from_layout(layout)
    expected = split_by_hand(layout)
    na, nb = (max(len(pair[side]) for pair in expected) for side in (0, 1))
    assert tables.windows == len(expected)
    for window, (sources, destinations) in enumerate(expected):
        assert tables.sources[window * na : (window + 1) * na] == (*sources, *[-1] * (na - len(sources)))
        padding = [-1] * (nb - len(destinations))
        assert tables.destinations[window * nb : (window + 1) * nb] == (*destinations, *padding)
        assert 0 <= tables.r_per_window[window] <= len(sources)
        assert tables.r_per_window[window] == 0 or destinations
        ranks = [window * na + rank for rank in range(len(sources))]
        assert [p for p in tables.taken if p in ranks] == ranks[: tables.r_per_window[window]]
        assert [p for p in tables.left if p in ranks] == ranks[tables.r_per_window[window] :]
    assert tables.R == sum(tables.r_per_window) == layout.r
    assert tables.tokens_out == layout.tokens - layout.r
    assert tables.num_sources == tables.R + tables.K == sum(len(sources) for sources, _ in expected)
    everyone = [*range(layout.prefix), *(token for token in tables.sources if token >= 0), *tables.destination_tokens]
    assert sorted(everyone) == list(range(layout.tokens))
    assert tables.ascending == (layout.prefix > 0 or layout.kind == "windows")


@settings(deadline=None, max_examples=200)
@given(layouts())
def test_windows_share_r_in_proportion(layout: MatchLayout) -> None:
    """Where no window is full, no share is a whole merge away from its quota (largest remainder)."""
    tables = tables_from_layout(layout)
    if layout.kind != "windows":
        assert tables.r_per_window == (layout.r,)
        return
    counts = [len(tokens) for tokens in windows_by_cell(layout)]
    assert all(share <= count // 2 for share, count in zip(tables.r_per_window, counts, strict=True))
    quotas = [Fraction(layout.r * count, sum(counts)) for count in counts]
    if all(quota + 1 <= count // 2 for quota, count in zip(quotas, counts, strict=True)):
        assert all(abs(share - quota) < 1 for share, quota in zip(tables.r_per_window, quotas, strict=True))


@pytest.mark.parametrize(
    ("layout", "shares"),
    [
        # 4 windows of 9, 6, 6, 4 tokens: quotas 3.6, 2.4, 2.4, 1.6 -> 3, 2, 2, 1 and the two largest remainders
        (MatchLayout("windows", 25, 0, 10, columns=5, window=3), (4, 2, 2, 2)),
        # quotas 4.32, 2.88, 2.88, 1.92: the first is full at 4
        (MatchLayout("windows", 25, 0, 12, columns=5, window=3), (4, 3, 3, 2)),
        # one column: windows of 3, 3, 3, 1 tokens; the last has no destination
        (MatchLayout("windows", 10, 0, 3, columns=1, window=3), (1, 1, 1, 0)),
        # equal remainders: lowest window first
        (MatchLayout("windows", 16, 0, 3, columns=4, window=2), (1, 1, 1, 0)),
        # windows of 4, 2, 4, 2, 4, 2, 2, 1
        (MatchLayout("windows", 21, 0, 9, columns=3, window=2), (2, 1, 2, 1, 1, 1, 1, 0)),
        # 4, 4, 4 and 1 tokens, quotas 1.23 and 0.31: rounding up gives the last one merge too many, the first has room
        (MatchLayout("windows", 13, 0, 4, columns=1, window=4), (2, 1, 1, 0)),
    ],
)
def test_shares_by_hand(layout: MatchLayout, shares: tuple[int, ...]) -> None:
    assert tables_from_layout(layout).r_per_window == shares


def test_class_token_moves_sources_to_even_positions_of_the_whole_sequence() -> None:
    """Published ToMe: the class token is A's first, so that token 1 is a destination and token 2 the first source."""
    tables = tables_from_layout(MatchLayout("alternate", 8, 1, 2))
    assert (tables.sources, tables.destinations) == ((2, 4, 6), (1, 3, 5, 7))
    assert (tables.taken, tables.left, tables.ascending) == ((0, 1), (2,), True)
    distilled = tables_from_layout(MatchLayout("alternate", 8, 2, 2))
    assert (distilled.sources, distilled.destinations) == ((2, 4, 6), (3, 5, 7))
    without = tables_from_layout(MatchLayout("alternate", 7, 0, 3))
    assert (without.sources, without.destinations, without.ascending) == ((0, 2, 4, 6), (1, 3, 5), False)


@settings(deadline=None, max_examples=100)
@given(layouts())
def test_largest_r_is_the_last_that_works(layout: MatchLayout) -> None:
    place = {"columns": layout.columns, "window": layout.window}
    largest = largest_r(layout.kind, layout.tokens, layout.prefix, **place)
    patches = layout.tokens - layout.prefix
    if layout.kind == "alternate":
        assert largest == patches // 2
    elif layout.kind == "cells":
        assert largest == 3 * patches // 4
    else:
        assert largest == sum(len(tokens) // 2 for tokens in windows_by_cell(layout))
    fits = MatchLayout(layout.kind, layout.tokens, layout.prefix, largest, **place)
    assert largest == tables_from_layout(fits).R
    with pytest.raises(BuildError, match=f"r = {largest + 1}, expected 1 to {largest}"):
        tables_from_layout(MatchLayout(layout.kind, layout.tokens, layout.prefix, largest + 1, **place))


@pytest.mark.parametrize(
    ("layout", "problem"),
    [
        (MatchLayout("alternate", 8, 1, 0), "r = 0, expected 1 to 3"),
        (MatchLayout("alternate", 8, 1, -2), "r = -2"),
        (MatchLayout("alternate", 8, 9, 1), "9 prefix tokens of 8"),
        (MatchLayout("alternate", 8, -1, 1), "-1 prefix tokens"),
        (MatchLayout("random", 8, 1, 1), "no such layout, expected one of alternate, windows, cells"),
        (MatchLayout("windows", 8, 0, 1, columns=0, window=2), "a grid of 0 columns"),
        (MatchLayout("windows", 8, 0, 1, columns=4, window=0), "windows of side 0"),
        (MatchLayout("cells", 15, 0, 1, columns=5), "15 patch tokens in 5 columns"),
        (MatchLayout("cells", 12, 0, 1, columns=4), "12 patch tokens in 4 columns"),
        (MatchLayout("cells", 18, 1, 1, columns=4), "17 patch tokens in 4 columns"),
    ],
)
def test_impossible_layouts_are_refused(layout: MatchLayout, problem: str) -> None:
    with pytest.raises(BuildError, match=problem):
        tables_from_layout(layout)


@pytest.mark.parametrize("layout", SIX_LAYOUTS)
def test_layouts_survive_json(layout: MatchLayout) -> None:
    written = json.loads(json.dumps({"block": 3, **layout.as_dict()}))
    assert MatchLayout.from_dict(written) == layout
    with pytest.raises(BuildError, match=r"r \| '3', expected an integer"):
        MatchLayout.from_dict({**written, "r": "3"})


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 60), st.integers(0, 3))
def test_tables_are_derived_once(patches: int, prefix: int) -> None:
    if patches >= 2:
        layout = MatchLayout("alternate", patches + prefix, prefix, 1)
        assert tables_from_layout(layout) is tables_from_layout(MatchLayout.from_dict(layout.as_dict()))


def test_tables_need_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = sys.modules['onnx'] = None;"
        "from edgeexport.ops.match_tables import MatchLayout, tables_from_layout;"
        "print(tables_from_layout(MatchLayout('alternate', 197, 1, 13)).tokens_out)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "184", found.stderr
