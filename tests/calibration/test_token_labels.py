"""A token's class from its pixels: against counting pixels one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexport.calibration.token_labels import patch_class_counts, token_classes, uniform_windows

CLASSES = 3
Case = tuple[NDArray[np.int64], tuple[int, int], int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Labels (H, W) with patches of ``side`` pixels; few pixels per patch make ties and ignored patches."""
    grid = (2 * draw(st.integers(1, 2)), 2 * draw(st.integers(1, 3)))
    side = draw(st.integers(1, 3))
    value = st.sampled_from([0, 1, 2, 255, 255])
    height, width = grid[0] * side, grid[1] * side
    rows = draw(st.lists(st.lists(value, min_size=width, max_size=width), min_size=height, max_size=height))
    return np.array(rows, dtype=np.int64), grid, side


def classes_in(label: NDArray[np.int64], top: int, left: int, side: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for y in range(top, top + side):
        for x in range(left, left + side):
            if label[y, x] != 255:
                found[int(label[y, x])] += 1
    return found


def most_frequent(found: Counter[int]) -> int:
    return min(found, key=lambda klass: (-found[klass], klass)) if found else -1


@settings(deadline=None, max_examples=100)
@given(cases(), st.data())
def test_token_classes_equal_counting(case: Case, data: st.DataObject) -> None:
    label, (rows, columns), side = case
    windows = [(row, column) for row in range(0, rows, 2) for column in range(0, columns, 2)]
    shared = sorted(data.draw(st.sets(st.sampled_from(range(len(windows))))))
    covered = {
        (windows[window][0] + down, windows[window][1] + across)
        for window in shared
        for down in (0, 1)
        for across in (0, 1)
    }
    expected = [
        most_frequent(classes_in(label, row * side, column * side, side))
        for row in range(rows)
        for column in range(columns)
        if (row, column) not in covered
    ]
    expected += [most_frequent(classes_in(label, windows[w][0] * side, windows[w][1] * side, 2 * side)) for w in shared]
    counts = patch_class_counts(label, (rows, columns), CLASSES)
    assert token_classes(counts, (rows, columns), np.array(shared, dtype=np.int32)).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(cases())
def test_uniform_windows_equal_counting(case: Case) -> None:
    label, grid, side = case
    found = [
        classes_in(label, row * side, column * side, 2 * side)
        for row in range(0, grid[0], 2)
        for column in range(0, grid[1], 2)
    ]
    assert uniform_windows(patch_class_counts(label, grid, CLASSES), grid) == sum(len(one) <= 1 for one in found)


def test_a_window_can_have_another_class_than_most_of_its_patches() -> None:
    """Three patches hold 5 pixels of class 1 and 4 of class 0; the fourth is all class 0."""
    patch = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0]])
    label = np.block([[patch, patch], [patch, np.zeros((3, 3), dtype=np.int64)]])
    counts = patch_class_counts(label, (2, 2), CLASSES)
    assert token_classes(counts, (2, 2), None).tolist() == [1, 1, 1, 0]
    assert token_classes(counts, (2, 2), np.array([0])).tolist() == [0]


def test_labels_of_another_size_are_stretched_like_the_photograph() -> None:
    label = np.repeat(np.repeat(np.arange(4).reshape(2, 2), 7, axis=0), 5, axis=1)
    counts = patch_class_counts(label, (4, 4), 4)
    assert token_classes(counts, (4, 4), None).reshape(4, 4)[::3, ::3].tolist() == [[0, 1], [2, 3]]
    assert counts.sum() == label.size, "every pixel counts once"
