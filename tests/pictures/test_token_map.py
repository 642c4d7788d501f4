from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexport.errors import BundleError
from edgeexport.pictures.token_map import TokenStage, token_map_from_decisions


def _token_patches(rows: int, columns: int, shared: list[int]) -> list[list[tuple[int, int]]]:
    """The patches of every token, spelled out: unshared patches row by row, then shared windows by number."""
    half = columns // 2
    windows = {w: [(2 * (w // half) + i, 2 * (w % half) + j) for i in (0, 1) for j in (0, 1)] for w in sorted(shared)}
    covered = {patch for patches in windows.values() for patch in patches}
    single = [[(r, c)] for r in range(rows) for c in range(columns) if (r, c) not in covered]
    return single + list(windows.values())


@st.composite
def _decisions(draw: st.DrawFn) -> tuple[int, int, list[int], dict[int, list[int]]]:
    rows, columns = 2 * draw(st.integers(1, 4)), 2 * draw(st.integers(1, 4))
    shared = draw(st.lists(st.integers(0, rows * columns // 4 - 1), unique=True))
    tokens = draw(st.permutations(range(rows * columns - 3 * len(shared))))
    first, second = sorted(draw(st.tuples(st.integers(0, len(tokens)), st.integers(0, len(tokens)))))
    return rows, columns, shared, {8: tokens[first:second], 6: tokens[:first]}


@given(_decisions())
def test_equals_brute_force(decisions: tuple[int, int, list[int], dict[int, list[int]]]) -> None:
    rows, columns, shared, pruned = decisions
    found = token_map_from_decisions(
        (rows, columns), np.array(shared, np.int32), {block: np.array(k, np.int32) for block, k in pruned.items()}
    )
    patches_of = _token_patches(rows, columns, shared)
    expected_shared = np.zeros((rows, columns), bool)
    expected_exit = np.zeros((rows, columns), int)
    for token, patches in enumerate(patches_of):
        for patch in patches:
            expected_shared[patch] = len(patches) == 4
            expected_exit[patch] = next((block for block, chosen in pruned.items() if token in chosen), 0)
    assert np.array_equal(found.shared, expected_shared)
    assert np.array_equal(found.exit_block, expected_exit)
    assert found.tokens_in == len(patches_of)
    assert found.num_shared == len(shared) and found.num_unshared == len(patches_of) - len(shared)
    first, second = len(pruned[6]), len(pruned[8])
    left = len(patches_of) - first
    assert found.stages == (TokenStage(6, first, left), TokenStage(8, second, left - second))


def test_without_sharing_an_odd_grid_works() -> None:
    found = token_map_from_decisions((3, 5), None, {6: np.array([0, 7])})
    assert not found.shared.any() and found.grid == (3, 5)
    assert [tuple(at) for at in np.argwhere(found.exit_block)] == [(0, 0), (1, 2)]


@pytest.mark.parametrize(
    ("grid", "shared", "pruned", "message"),
    [
        ((4, 4), [4], {}, "shared_windows | holds indices 4 to 4, expected 0 to 3"),
        ((4, 4), [-1], {}, "holds indices -1 to -1"),
        ((4, 4), [1, 1], {}, "shared_windows | holds an index twice"),
        ((3, 4), [0], {}, "the grid of 3 x 4 patches is odd"),
        ((4, 4), [0], {6: [13]}, "pruned_tokens_6 | holds indices 13 to 13, expected 0 to 12"),
        ((4, 4), [], {6: [2, 2]}, "pruned_tokens_6 | holds an index twice"),
        ((4, 4), [], {6: [2], 8: [2]}, "pruned_tokens_8 | names tokens that an earlier stage had pruned"),
    ],
)
def test_impossible_decisions_are_a_damaged_bundle(
    grid: tuple[int, int], shared: list[int], pruned: dict[int, list[int]], message: str
) -> None:
    with pytest.raises(BundleError) as caught:
        token_map_from_decisions(grid, np.array(shared, int), {block: np.array(k) for block, k in pruned.items()})
    assert message in str(caught.value) and caught.value.exit_code == 9
