"""Windows as parts of a picture, and what is drawn of each."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeexport.pictures.merge_map import MergedBlock, MergeMap
from edgeexport.pictures.merged_regions import draw_merged_regions
from edgeexport.pictures.overlay import draw_overlay, stage_brightness
from edgeexport.pictures.token_map import TokenMap, token_map_from_decisions
from edgeexport.pictures.window_places import WHOLE, window_places
from edgeexport.tokens.windows import WindowGrid

GREY = Image.new("RGB", (1024, 512), (200, 200, 200))
TWO = window_places((64, 128), (64, 64), (0,), (0, 64))
OVERLAPPING = window_places((64, 96), (64, 64), (0,), (0, 32))


def tokens_of(shared: list[int], pruned: list[int]) -> TokenMap:
    return token_map_from_decisions((4, 4), np.array(shared, int), {2: np.array(pruned, int)})


@st.composite
def grids(draw: st.DrawFn) -> WindowGrid:
    window = draw(st.integers(8, 40)), draw(st.integers(8, 40))
    image = draw(st.integers(window[0], 90)), draw(st.integers(window[1], 90))
    stride = draw(st.integers(1 + window[0] // 3, window[0])), draw(st.integers(1 + window[1] // 3, window[1]))
    return WindowGrid(image, window, stride)


@given(grids(), st.integers(60, 300), st.integers(60, 300))
def test_shown_parts_fill_the_picture_once_and_lie_in_their_windows(grid: WindowGrid, height: int, width: int) -> None:
    places = window_places(grid.image, grid.window, grid.rows, grid.columns)
    assert len(places) == grid.count
    covered = np.zeros((height, width), dtype=int)
    for place in places:
        covered[place.shown.pixels(height, width)] += 1
        assert place.box.top <= place.shown.top < place.shown.bottom <= place.box.bottom + 1e-9
        assert place.box.left <= place.shown.left < place.shown.right <= place.box.right + 1e-9
    # Windows closer together than a pixel of the picture would show one pixel each.
    closest = min(
        np.diff(grid.rows).min(initial=90) / grid.image[0] * height,
        np.diff(grid.columns).min(initial=90) / grid.image[1] * width,
    )
    assert closest < 2 or (covered == 1).all()


@given(grids(), st.integers(60, 300), st.integers(60, 300))
def test_what_is_shown_of_a_window_is_what_lies_there(grid: WindowGrid, height: int, width: int) -> None:
    """Every window's pixels say where they are in the picture; put together they say so to within the rounding."""
    picture = np.zeros((height, width, 2), dtype=int)
    for place in window_places(grid.image, grid.window, grid.rows, grid.columns):
        rows, columns = place.box.pixels(height, width)
        own = np.stack(np.mgrid[rows, columns], axis=-1)
        picture[place.shown.pixels(height, width)] = place.shown_of(own, height, width)
    assert (abs(picture - np.stack(np.mgrid[:height, :width], axis=-1)) <= 1).all()


def test_each_window_is_darkened_by_its_own_tokens() -> None:
    left, right = tokens_of([], [0]), tokens_of([], [15])
    drawn = draw_overlay(
        GREY, np.zeros((4, 8), int), slid=list(zip(TWO, (left, right), strict=True)), palette=((200, 200, 200),)
    )
    found = np.asarray(drawn)[64:512:128, 64:1024:128, 0].astype(int)
    dark = round(100 * stage_brightness(1)[0] + 100)
    expected = np.full((4, 8), 200)
    expected[0, 0] = expected[3, 7] = dark
    assert (found == expected).all()


def test_overlapping_windows_are_drawn_up_to_the_middle() -> None:
    """Both lose every token but one; the left one's is beyond the middle, and so not seen."""
    everything = list(range(16))
    left, right = (tokens_of([], [token for token in everything if token != kept]) for kept in (3, 3))
    wide = Image.new("RGB", (1152, 768), (200, 200, 200))
    drawn = draw_overlay(
        wide, np.zeros((4, 6), int), slid=list(zip(OVERLAPPING, (left, right), strict=True)), palette=((200, 200, 200),)
    )
    found = np.asarray(drawn)[96:768:192, 96:1152:192, 0].astype(int)
    assert np.argwhere(found == 200).tolist() == [[0, 5]]


def test_shared_windows_are_outlined_where_they_lie(written: list[str]) -> None:
    slid = list(zip(TWO, (tokens_of([], []), tokens_of([0], [])), strict=True))
    drawn = np.asarray(draw_overlay(GREY, np.zeros((4, 8), int), slid=slid, palette=((200, 200, 200),))).astype(int)
    assert drawn[0, 520, 2] > drawn[0, 520, 0] + 50, "blue, from the second window's first"
    assert (drawn[0, :512] == 200).all()
    whole = draw_overlay(GREY, np.zeros((4, 8), int), tokens=tokens_of([0], []), palette=((200, 200, 200),))
    same = draw_overlay(GREY, np.zeros((4, 8), int), slid=[(WHOLE, tokens_of([0], []))], palette=((200, 200, 200),))
    assert np.array_equal(whole, same)


def test_merged_regions_of_windows(written: list[str]) -> None:
    photo = np.random.default_rng(3).integers(0, 255, (4, 8, 3), dtype=np.uint8).repeat(128, axis=0).repeat(128, axis=1)
    final = np.zeros((4, 4), np.int32)
    one = MergeMap(final, 0, 16, 1, False, (MergedBlock(2, 15, 1),))
    alone = MergeMap(np.arange(16, dtype=np.int32).reshape(4, 4), 0, 16, 16, False, (MergedBlock(2, 0, 16),))
    picture = draw_merged_regions(Image.fromarray(photo), None, slid=list(zip(TWO, (one, alone), strict=True)))
    drawn = np.asarray(picture)[:512, -1024:].astype(int)
    left, right = drawn[40:-40, 40:472], drawn[40:-40, 552:-40]
    assert len(np.unique(left.reshape(-1, 3), axis=0)) == 1, "one token, one colour"
    assert len(np.unique(right.reshape(-1, 3), axis=0)) == 32, "a colour and a border each"
    assert any("IN EACH OF 2 SLIDING WINDOWS" in text for text in written)
