"""The reference merge: hand examples, and a second brute force in plain Python that lists every pair."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeexport.errors import BuildError
from edgeexport.ops.match_tables import MatchLayout, tables_from_layout
from edgeexport.ops.token_match import token_match
from edgeexport.reductions.merging import matching_from_decision, merge_tokens
from edgeexport.reductions.published_merge import (
    MergedTokens,
    candidates_of,
    merge_step_reference,
    shares_of_windows,
    unmerged_reference,
)

# Vectors whose length is a power of two: similarities are exact in float32, so ties are ties.
EXACT = [
    (1, 0, 0, 0), (0, 2, 0, 0), (0, 0, -1, 0), (0, 0, 0, 4), (1, 1, 1, 1), (2, -2, 2, 2), (1, 1, -1, -1), (0, 0, 0, 0)
]  # fmt: skip


def step(metric: list[tuple[int, ...]] | Tensor, **how: object) -> MergedTokens:
    """Merges tokens that carry their own number, all of size one."""
    rows = metric if isinstance(metric, Tensor) else torch.tensor(metric, dtype=torch.float32)
    count = rows.shape[0]
    arguments = {"kind": "alternate", "prefix": 0, "r": 1, **how}
    return merge_step_reference(torch.arange(float(count))[:, None], torch.ones(count), rows, **arguments)


def angles(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_alternate_without_prefix_keeps_the_order_of_scores() -> None:
    # Sources 0, 2, 4 and destinations 1, 3, 5; differences to the nearest destination: 8, 1, 4 degrees.
    found = step(angles(8, 0, 41, 40, 84, 80), r=1)
    assert found.edges == [(2, 3)]
    assert found.kept == [4, 0]
    assert found.groups == [[4], [0], [1], [3, 2], [5]]
    assert found.x[:, 0].tolist() == [4, 0, 1, 2.5, 5]
    assert found.size.tolist() == [1, 1, 1, 2, 1]


def test_alternate_with_a_class_token_keeps_the_order_of_positions() -> None:
    # Sources 2, 4, 6; destinations 1, 3, 5. Token 0 equals token 2 and must not matter.
    found = step(angles(41, 0, 41, 40, 88, 80, 3), prefix=1, r=1)
    assert found.edges == [(2, 3)]
    assert found.kept == [4, 6]
    assert found.groups == [[0], [4], [6], [1], [3, 2], [5]]


def test_alternate_with_a_distillation_token() -> None:
    found = step(angles(0, 0, 10, 12, 50, 49), prefix=2, r=1)
    assert found.edges == [(4, 5)]
    assert found.groups == [[0], [1], [2], [3], [5, 4]]


def test_sizes_weigh_the_mean() -> None:
    x, size = torch.tensor([[6.0], [0.0], [1.0], [9.0]]), torch.tensor([2.0, 1.0, 3.0, 1.0])
    found = merge_step_reference(x, size, angles(0, 1, 2, 90), kind="alternate", prefix=0, r=2)
    assert found.edges == [(0, 1), (2, 1)] or found.edges == [(2, 1), (0, 1)]
    assert found.groups == [[1, 0, 2], [3]]
    assert found.size.tolist() == [6, 1]
    assert found.x[:, 0].tolist() == [(2 * 6 + 3 * 1) / 6, 9]


def test_cells_have_one_destination_each() -> None:
    # Grid of 2 x 4: destinations 0 and 2. Token 5 is like 0, token 3 like 2, the others like neither.
    metric = [(1, 0, 0), (0, 0, 1), (0, 1, 0), (0, 4, 0), (0, 0, 1), (2, 0, 0), (0, 0, 1), (-1, -1, 0)]
    found = step(metric, kind="cells", columns=4, r=2)
    assert found.edges == [(3, 2), (5, 0)]
    assert found.kept == [1, 4, 6, 7]  # similarities 0, 0, 0, negative
    assert found.groups == [[1], [4], [6], [7], [0, 5], [2, 3]]
    every = step(metric, kind="cells", columns=4, r=6)
    assert every.kept == []
    assert [group[0] for group in every.groups] == [0, 2]


def test_windows_match_inside_themselves_and_return_to_raster_order() -> None:
    # Class token, then a grid of 2 x 4 with windows of 2: tokens 1 2 5 6 and 3 4 7 8. Token 1 equals token 8.
    metric = angles(0, 10, 40, 70, 100, 130, 160, 190, 10)
    assert candidates_of("windows", 9, 1, 4, 2) == [([1, 5], [2, 6]), ([3, 7], [4, 8])]
    found = step(metric, kind="windows", prefix=1, r=2, columns=4, window=2)
    assert found.edges == [(1, 2), (3, 4)]
    assert found.kept == [5, 7]
    assert found.groups == [[0], [2, 1], [4, 3], [5], [6], [7], [8]]
    assert found.size.tolist() == [1, 2, 2, 1, 1, 1, 1]


def test_partial_windows_have_no_padding() -> None:
    # 7 tokens in 3 columns: rows of 3, 3, 1; windows of 2.
    assert candidates_of("windows", 7, 0, 3, 2) == [([0, 3], [1, 4]), ([2], [5]), ([6], [])]
    found = step(angles(0, 1, 50, 90, 91, 50, 7), kind="windows", r=2, columns=3, window=2)
    assert found.edges in ([(0, 1), (2, 5)], [(3, 4), (2, 5)])
    assert [group[0] for group in found.groups] == sorted(group[0] for group in found.groups)
    assert [6] in found.groups


@pytest.mark.parametrize(
    ("counts", "r", "expected"),
    [
        ([4, 4], 2, [1, 1]),
        ([4, 4], 3, [2, 1]),
        ([49, 49, 49, 49], 8, [2, 2, 2, 2]),
        ([6, 2, 1], 3, [2, 1, 0]),
        ([1, 1, 6], 3, [0, 0, 3]),
        ([6, 3, 3], 5, [3, 1, 1]),
        ([3, 3, 3, 1], 3, [1, 1, 1, 0]),
        ([1] * 6 + [40, 40], 38, [0] * 6 + [19, 19]),
    ],
)
def test_shares_by_hand(counts: list[int], r: int, expected: list[int]) -> None:
    assert shares_of_windows(counts, r) == expected


def test_zero_vectors_are_like_nothing() -> None:
    # Source 0 has no direction: similarity 0, ahead of source 2, which points away from everything.
    found = step([(0, 0), (1, 0), (-1, 0), (1, 0)], r=1)
    assert found.edges == [(0, 1)]
    assert found.kept == [2]
    # A destination without direction is better than an opposite one.
    assert step([(-1, 0), (1, 0), (0, 1), (0, 0)], r=2).edges == [(0, 3), (2, 1)]


@pytest.mark.parametrize(
    ("how", "limit"),
    [
        ({"kind": "alternate"}, 4),
        ({"kind": "alternate", "prefix": 1}, 3),
        ({"kind": "cells", "columns": 4}, 6),
        ({"kind": "windows", "columns": 4, "window": 2}, 4),
    ],
)
def test_more_than_possible_is_refused(how: dict[str, object], limit: int) -> None:
    metric = torch.ones(8, 2)
    assert len(step(metric, r=limit, **how).edges) == limit
    for r in (-1, limit + 1):
        with pytest.raises(BuildError, match=f"r = {r} "):
            step(metric, r=r, **how)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BuildError, match="unknown kind 'random'"):
        step(torch.ones(4, 2), kind="random")


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], list[int], dict[str, object]]:
    kind = draw(st.sampled_from(["alternate", "cells", "windows"]))
    prefix = draw(st.integers(0, 3))
    columns, window, tokens = 0, 0, draw(st.integers(0, 13))
    if kind == "cells":
        columns = 2 * draw(st.integers(1, 3))
        tokens = columns * 2 * draw(st.integers(1, 2))
    elif kind == "windows":
        columns, window, tokens = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 18))
    count = prefix + max(tokens, 1 - prefix)
    metric = draw(st.lists(st.sampled_from(EXACT), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    parts = candidates_of(kind, count, prefix, columns, window)
    if kind == "windows":
        most = sum((len(sources) + len(destinations)) // 2 for sources, destinations in parts)
    else:
        most = len(parts[0][0]) if kind == "cells" else (count - prefix) // 2
    r = draw(st.integers(0, most))
    return metric, sizes, {"kind": kind, "prefix": prefix, "r": r, "columns": columns, "window": window}


def window_of(token: int, how: dict) -> tuple[int, int] | None:
    if how["kind"] != "windows":
        return None
    row, column = divmod(token - how["prefix"], how["columns"])
    return row // how["window"], column // how["window"]


def is_destination(token: int, count: int, how: dict) -> bool:
    place = token - how["prefix"]
    if how["kind"] == "alternate":
        return token % 2 == 1
    if how["kind"] == "cells":
        return place // how["columns"] % 2 == 0 and place % how["columns"] % 2 == 0
    mates = [other for other in range(how["prefix"], token) if window_of(other, how) == window_of(token, how)]
    return len(mates) % 2 == 1


def similarity(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    lengths = (sum(v * v for v in a) * sum(v * v for v in b)) ** 0.5
    return sum(v * w for v, w in zip(a, b, strict=True)) / lengths if lengths else 0.0


def brute_shares(counts: list[int], r: int) -> list[int]:
    """Largest remainder in fractions, one merge at a time."""
    quota = [Fraction(r * count, sum(counts)) if counts else Fraction(0) for count in counts]
    shares = [int(part) for part in quota]
    while sum(shares) < r and any(int(part) == share for part, share in zip(quota, shares, strict=True)):
        open_to = [number for number, share in enumerate(shares) if share == int(quota[number])]
        shares[max(open_to, key=lambda number: (quota[number] - int(quota[number]), -number))] += 1
    shares = [min(share, count // 2) for share, count in zip(shares, counts, strict=True)]
    turn = 0
    while sum(shares) < r:
        number = turn % len(counts)
        shares[number] += shares[number] < counts[number] // 2
        turn += 1
    return shares


def brute_force(metric: list[tuple[int, ...]], how: dict) -> tuple[list[list[tuple[int, int]]], dict[int, float]]:
    """Edges of every window, best first, and every source's best similarity: by listing all pairs."""
    count, prefix = len(metric), how["prefix"]
    tokens = range(prefix, count)
    destinations = [token for token in tokens if is_destination(token, count, how)]
    sources = [token for token in tokens if token not in destinations]
    windows: list[tuple[int, int] | None] = [None]
    shares = [how["r"]]
    if how["kind"] == "windows":
        windows = sorted({window_of(token, how) for token in tokens})
        shares = brute_shares([sum(window_of(token, how) == w for token in tokens) for w in windows], how["r"])
    pairs = [
        (similarity(metric[a], metric[b]), a, b)
        for a, b in product(sources, destinations)
        if window_of(a, how) == window_of(b, how)
    ]
    edges, scores = [], {source: float("-inf") for source in sources}
    for value, a, _ in pairs:
        scores[a] = max(scores[a], value)
    for number, share in zip(windows, shares, strict=True):
        ranked = sorted(
            (a for a in sources if window_of(a, how) == number), key=lambda source: (-scores[source], source)
        )
        edges.append([(a, min(b for value, s, b in pairs if s == a and value == scores[a])) for a in ranked[:share]])
    return edges, scores


@settings(deadline=None, max_examples=300)
@given(cases())
def test_equals_brute_force(case: tuple[list[tuple[int, ...]], list[int], dict]) -> None:
    metric, sizes, how = case
    count, prefix = len(metric), how["prefix"]
    x = torch.arange(2.0 * count).reshape(count, 2).square()
    size = torch.tensor(sizes, dtype=torch.float32)
    found = merge_step_reference(x, size, torch.tensor(metric, dtype=torch.float32), **how)
    by_window, scores = brute_force(metric, how)
    edges = [edge for window in by_window for edge in window]
    assert found.edges == edges
    unmerged = sorted(set(scores) - {a for a, _ in edges})
    if not prefix and how["kind"] != "windows":
        unmerged.sort(key=lambda source: -scores[source])
    assert found.kept == unmerged

    # Groups: a partition of the input in which every merge went where its edge says.
    assert sorted(token for group in found.groups for token in group) == list(range(count))
    assert len(found.groups) == found.x.shape[0] == found.size.shape[0] == count - how["r"]
    heads = [group[0] for group in found.groups]
    assert heads[:prefix] == list(range(prefix))
    assert {(a, group[0]) for group in found.groups for a in group[1:]} == set(edges)
    destinations = [token for token in range(prefix, count) if token not in scores]
    rest = [*unmerged, *destinations]
    assert heads[prefix:] == (sorted(rest) if how["kind"] == "windows" else rest)

    # Sizes add up, and every row is the weighted mean of its group.
    assert found.size.sum() == sum(sizes)
    for row, total, group in zip(found.x, found.size, found.groups, strict=True):
        assert total == sum(sizes[token] for token in group)
        mean = sum(x[token] * sizes[token] for token in group) / sum(sizes[token] for token in group)
        torch.testing.assert_close(row, mean)
    copied = unmerged_reference(found.x, found.groups)
    for row, group in zip(found.x, found.groups, strict=True):
        assert all(torch.equal(copied[token], row) for token in group)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.data())
def test_shares_equal_brute_force(counts: list[int], data: st.DataObject) -> None:
    r = data.draw(st.integers(0, sum(count // 2 for count in counts)))
    found = shares_of_windows(counts, r)
    assert found == brute_shares(counts, r)
    assert sum(found) == r
    assert all(0 <= share <= count // 2 for share, count in zip(found, counts, strict=True))


@settings(deadline=None, max_examples=200)
@given(cases())
def test_the_fixed_form_decides_the_same(case: tuple[list[tuple[int, ...]], list[int], dict]) -> None:
    """Same candidates, shares, ties, order and values from the operators' tables, which this module does not know."""
    metric, sizes, how = case
    if how["r"] == 0:
        return
    count = len(metric)
    rows, size = torch.tensor(metric, dtype=torch.float32), torch.tensor(sizes, dtype=torch.float32)
    x = torch.arange(2.0 * count).reshape(count, 2).square()
    found = merge_step_reference(x, size, rows, **how)
    tables = tables_from_layout(MatchLayout(tokens=count, **how))
    matching = matching_from_decision(token_match(rows[None], tables), tables, raster=how["kind"] == "windows")
    assert list(zip(matching.source[0].tolist(), matching.target[0].tolist(), strict=True)) == found.edges
    assert matching.kept[0].tolist() == found.kept
    merged, merged_size = merge_tokens(x[None], size[None, :, None], matching)
    torch.testing.assert_close(merged[0], found.x)
    torch.testing.assert_close(merged_size[0, :, 0], found.size)
    place = {token: row for row, group in enumerate(found.groups) for token in group}
    assert matching.position[0].tolist() == [place[token] for token in range(count)]
