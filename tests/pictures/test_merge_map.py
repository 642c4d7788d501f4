from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexport.errors import BundleError
from edgeexport.ops.match_tables import MatchLayout, MatchTables, largest_r, tables_from_layout
from edgeexport.pictures.merge_map import MergedBlock, is_merge_decision, merge_map_from_decisions
from edgeexport.pictures.token_map import TokenMap, token_map_from_decisions

Decisions = dict[str, NDArray]


def _by_window(table: tuple[int, ...], windows: int) -> list[list[int]]:
    size = len(table) // windows
    return [[t for t in table[w * size : (w + 1) * size] if t >= 0] for w in range(windows)]


def _drawn(draw: st.DrawFn, tables: MatchTables) -> tuple[list[int], list[int], list[int]]:
    """Any choice that the tables allow: sources, their targets, sources kept."""
    sources: list[int] = []
    targets: list[int] = []
    kept: list[int] = []
    windows = zip(
        _by_window(tables.sources, tables.windows),
        _by_window(tables.destinations, tables.windows),
        tables.r_per_window,
        strict=True,
    )
    for candidates, destinations, r in windows:
        order = draw(st.permutations(candidates))
        sources += order[:r]
        targets += [draw(st.sampled_from(destinations)) for _ in range(r)]
        kept += order[r:]
    return sources, targets, kept


@st.composite
def _merged(draw: st.DrawFn) -> tuple[tuple[int, int], list[dict[str, Any]], Decisions, list[set[int]]]:
    """Merges of a model with up to four merging blocks, and the patches of every final token followed with sets."""
    rows, columns, prefix = draw(st.integers(1, 5)), draw(st.integers(2, 5)), draw(st.integers(0, 2))
    contents: list[set[int]] = [set() for _ in range(prefix)] + [{patch} for patch in range(rows * columns)]
    merges: list[dict[str, Any]] = []
    decisions: Decisions = {}
    blocks = sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=4)))
    for block in blocks:
        windowed = draw(st.booleans())
        shape = (draw(st.integers(1, 5)), draw(st.integers(2, 5))) if windowed else (0, 0)
        kind = "windows" if windowed else "alternate"
        limit = largest_r(kind, len(contents), prefix, *shape)
        if not limit:
            continue
        layout = MatchLayout(kind, len(contents), prefix, draw(st.integers(1, limit)), *shape)
        tables, raster = tables_from_layout(layout), draw(st.booleans())
        sources, targets, kept = _drawn(draw, tables)
        for source, target in zip(sources, targets, strict=True):
            contents[target] = contents[target] | contents[source]
        order = [*kept, *tables.destination_tokens]
        contents = contents[:prefix] + [contents[token] for token in (sorted(order) if raster else order)]
        merges.append({"block": block, "raster": raster, "dense": None, **layout.as_dict()})
        decisions |= _named(block, sources, targets, kept)
    return (rows, columns), merges, decisions, contents


def _named(block: int, sources: list[int], targets: list[int], kept: list[int]) -> Decisions:
    parts = (("source", sources), ("target", targets), ("kept", kept))
    return {f"merge_{name}_{block}": np.array(values, np.int32) for name, values in parts}


@given(_merged())
def test_composed_blocks_equal_sets(
    case: tuple[tuple[int, int], list[dict[str, Any]], Decisions, list[set[int]]],
) -> None:
    grid, merges, decisions, contents = case
    if not merges:
        return
    found = merge_map_from_decisions(grid, merges[::-1], decisions)
    assert found.final_token.shape == grid and found.final_token.dtype == np.int32
    flat = found.final_token.ravel()
    assert [set(np.flatnonzero(flat == token).tolist()) for token in range(len(contents))] == contents
    prefix = merges[0]["prefix"]
    assert (found.prefix, found.tokens_in, found.tokens_out) == (prefix, merges[0]["tokens"], len(contents))
    assert found.patches_of_token.tolist() == [len(patches) for patches in contents[prefix:]]
    assert [(step.block, step.merged) for step in found.blocks] == [(m["block"], m["r"]) for m in merges]
    assert [step.left for step in found.blocks] == [m["tokens"] - m["r"] for m in merges]


@given(st.data())
def test_dense_blocks_show_the_last_one(data: st.DataObject) -> None:
    """Tokens shared and pruned as well; each token's patches are spelled out by `token_map`'s own test's rules."""
    rows, columns, prefix = (
        2 * data.draw(st.integers(1, 2)),
        2 * data.draw(st.integers(2, 3)),
        data.draw(st.integers(0, 1)),
    )
    windows = data.draw(st.sets(st.integers(0, rows * columns // 4 - 1)))
    half = columns // 2
    covered = {w: {(2 * (w // half) + i, 2 * (w % half) + j) for i in (0, 1) for j in (0, 1)} for w in sorted(windows)}
    inside = set().union(*covered.values())
    patches = [{(r, c)} for r in range(rows) for c in range(columns) if (r, c) not in inside] + list(covered.values())
    pruned = data.draw(st.sets(st.integers(0, len(patches) - 1), max_size=len(patches) // 2))
    tokens = token_map_from_decisions((rows, columns), np.array(sorted(windows), int), {2: np.array([*pruned], int)})
    merges: list[dict[str, Any]] = []
    decisions: Decisions = {}
    expected: list[set[tuple[int, int]]] = []
    for block in (1, 2, 3):  # block 3 is the first after the pruning
        contents = [patches[t] for t in range(len(patches)) if block < 3 or t not in pruned]
        limit = largest_r("alternate", prefix + len(contents), prefix)
        if not limit:
            continue
        layout = MatchLayout("alternate", prefix + len(contents), prefix, data.draw(st.integers(1, limit)))
        tables = tables_from_layout(layout)
        sources, targets, kept = _drawn(data.draw, tables)  # type: ignore[arg-type]
        merges.append({"block": block, "raster": False, "dense": "tome", **layout.as_dict()})
        decisions |= _named(block, sources, targets, kept)
        full: list[set[tuple[int, int]]] = [set() for _ in range(prefix)] + contents
        for source, target in zip(sources, targets, strict=True):
            full[target] = full[target] | full[source]
        expected = full[:prefix] + [full[token] for token in (*kept, *tables.destination_tokens)]
    if not merges:
        return
    found = merge_map_from_decisions((rows, columns), merges, decisions, tokens)
    for token, cells in enumerate(expected):
        assert {(int(r), int(c)) for r, c in np.argwhere(found.final_token == token)} == cells
    last = merges[-1]
    gone = set().union(*(patches[t] for t in pruned)) if last["block"] == 3 else set()
    assert {(int(r), int(c)) for r, c in np.argwhere(found.final_token < 0)} == gone
    assert found.dense and found.tokens_in == merges[0]["tokens"] and found.tokens_out == last["tokens"] - last["r"]
    assert found.patches_of_token.tolist() == [len(cells) for cells in expected[prefix:]]


def test_written_out_example() -> None:
    """Class token, 2 x 3 patches 1..6. Sources 2, 4, 6, destinations 1, 3, 5; 4 goes into 1."""
    merges = [{"block": 1, "raster": False, "dense": None, **MatchLayout("alternate", 7, 1, 1).as_dict()}]
    found = merge_map_from_decisions((2, 3), merges, _named(1, [4], [1], [2, 6]))
    # Put out: class token, 2, 6, 1 with 4, 3, 5.
    assert found.final_token.tolist() == [[3, 1, 4], [3, 5, 2]]
    assert found.blocks == (MergedBlock(1, 1, 6),) and not found.dense
    raster = merge_map_from_decisions((2, 3), [{**merges[0], "raster": True}], _named(1, [4], [1], [2, 6]))
    assert raster.final_token.tolist() == [[1, 2, 3], [1, 4, 5]]


def test_dense_blocks_start_from_all_tokens_again() -> None:
    one = {"block": 1, "raster": False, "dense": "tome", **MatchLayout("alternate", 7, 1, 1).as_dict()}
    decisions = {**_named(1, [4], [1], [2, 6]), **_named(2, [6], [3], [2, 4])}
    found = merge_map_from_decisions((2, 3), [one, {**one, "block": 2}], decisions)
    # Put out by block 2: class token, 2, 4, 1, 3 with 6, 5.
    assert found.final_token.tolist() == [[3, 1, 4], [2, 5, 4]]
    assert (found.tokens_in, found.tokens_out) == (7, 6)
    assert found.blocks == (MergedBlock(1, 1, 6), MergedBlock(2, 1, 6))


def test_cells_and_an_absent_empty_array() -> None:
    layout = MatchLayout("cells", 4, 0, 3, columns=2)
    decisions = _named(1, [1, 2, 3], [0, 0, 0], [])
    del decisions["merge_kept_1"]
    merges = [{"block": 1, "raster": False, "dense": "sd", **layout.as_dict()}]
    assert merge_map_from_decisions((2, 2), merges, decisions).final_token.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("change", "decisions", "message"),
    [
        ({}, ([4, 2], [1, 1], [6]), "merge_source_1 | holds 2 indices, expected 1"),
        ({}, ([4], [1], [2]), "merge_kept_1 | holds 1 indices, expected 2"),
        ({}, ([7], [1], [2, 6]), "merge_source_1 | holds indices 7 to 7, expected 0 to 6"),
        ({}, ([-1], [1], [2, 6]), "holds indices -1 to -1"),
        ({}, ([4], [1], [2, 2]), "hold an index twice"),
        ({}, ([4], [1], [4, 2]), "hold an index twice"),
        ({}, ([3], [1], [2, 6]), "holds a token that is no source"),
        ({}, ([4], [1], [0, 6]), "holds a token that is no source"),
        ({}, ([4], [2], [2, 6]), "merge_target_1 | holds a token that is no destination"),
        ({}, ([4], [0], [2, 6]), "merge_target_1 | holds a token that is no destination"),
        ({"tokens": 9}, ([4], [1], [2, 6]), "takes 9 tokens, 1 of them prefix; 6 and 1 prefix tokens arrive"),
        ({"prefix": 0}, ([4], [1], [2, 6]), "takes 7 tokens, 0 of them prefix; 6 and 0 prefix tokens arrive"),
        ({"kind": "odd"}, ([4], [1], [2, 6]), "no such layout"),
        ({"r": 5}, ([4], [1], [2, 6]), "r = 5, expected 1 to 3"),
    ],
)
def test_what_the_layout_forbids_is_a_damaged_bundle(
    change: dict[str, Any], decisions: tuple[list[int], list[int], list[int]], message: str
) -> None:
    layout = {**MatchLayout("alternate", 7, 1, 1).as_dict(), **change}
    with pytest.raises(BundleError) as caught:
        merge_map_from_decisions(
            (2, 3), [{"block": 1, "raster": False, "dense": None, **layout}], _named(1, *decisions)
        )
    assert message in str(caught.value) and caught.value.exit_code == 9


def test_target_of_another_window() -> None:
    layout = MatchLayout("windows", 4, 0, 1, columns=4, window=2)  # sources 0 and 2, destinations 1 and 3
    merges = [{"block": 1, "raster": True, "dense": None, **layout.as_dict()}]
    tables = tables_from_layout(layout)
    first = 0 if tables.r_per_window[0] else 2
    with pytest.raises(BundleError, match="another window"):
        merge_map_from_decisions((1, 4), merges, _named(1, [first], [3 - first], [2 - first]))


def test_blocks_that_do_not_follow_upon_each_other() -> None:
    one = {"block": 1, "raster": False, "dense": None, **MatchLayout("alternate", 7, 1, 1).as_dict()}
    with pytest.raises(BundleError, match=r"merges of block 4 .* takes 7 tokens, .* 5 and 1 prefix tokens arrive"):
        merge_map_from_decisions((2, 3), [one, {**one, "block": 4}], _named(1, [4], [1], [2, 6]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("merge_source_1", True),
        ("merge_target_12", True),
        ("merge_kept_3", True),
        ("merge_kept_x", False),
        ("x", False),
    ],
)
def test_names_of_decisions(name: str, expected: bool) -> None:
    assert is_merge_decision(name) is expected


def test_tokens_entering_a_block() -> None:
    tokens: TokenMap = token_map_from_decisions((2, 2), None, {2: np.array([1])})
    assert tokens.tokens_entering(2).tolist() == [[0, 1], [2, 3]]
    assert tokens.tokens_entering(3).tolist() == [[0, -1], [1, 2]]
