from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeexport.pictures.overlay import LONGEST_SIDE, SHARED_BLUE, draw_overlay, stage_brightness
from edgeexport.pictures.token_map import TokenMap, token_map_from_decisions

GREY = Image.new("RGB", (1024, 1024), (200, 200, 200))
ONE_CLASS = np.zeros((8, 8), int)


def _tokens(shared: list[int], pruned: dict[int, list[int]]) -> TokenMap:
    return token_map_from_decisions((8, 8), np.array(shared, int), {b: np.array(k, int) for b, k in pruned.items()})


def _patches(image: Image.Image) -> NDArray:
    """Colour at the middle of each of 8 x 8 patches of a 1024 x 1024 drawing."""
    return np.asarray(image)[64:1024:128, 64:1024:128].astype(int)


def _count(image: Image.Image, colour: tuple[int, int, int], height: int = 1024) -> int:
    return int((np.asarray(image)[:height] == np.array(colour)).all(axis=-1).sum())


def test_classes_lie_over_the_photograph_in_their_colour() -> None:
    class_map = np.zeros((8, 8), int)
    class_map[:, 4:] = 1
    found = _patches(draw_overlay(GREY, class_map, palette=((250, 0, 0), (0, 0, 250))))
    assert (found[:, :4] == [225, 100, 100]).all() and (found[:, 4:] == [100, 100, 225]).all()


def test_earlier_stages_are_darker() -> None:
    tokens = _tokens([], {6: [0, 9], 8: [1, 2]})
    found = _patches(draw_overlay(GREY, ONE_CLASS, tokens=tokens, palette=((200, 200, 200),)))[..., 0]
    first, second = (round(100 * factor + 100) for factor in stage_brightness(2))
    assert first < second < 200
    assert (found[tokens.exit_block == 6] == first).all() and (found[tokens.exit_block == 8] == second).all()
    assert (found[tokens.exit_block == 0] == 200).all()


@pytest.mark.parametrize("stages", [1, 2, 3, 7])
def test_stage_brightness_rises_and_stays_below_one(stages: int) -> None:
    levels = stage_brightness(stages)
    assert len(levels) == stages and list(levels) == sorted(set(levels)) and levels[0] > 0 and levels[-1] < 1


def test_classes_keep_their_colour_where_tokens_departed() -> None:
    drawn = draw_overlay(GREY, ONE_CLASS, tokens=_tokens([], {6: [0]}), palette=((250, 0, 0),))
    red, green, blue = _patches(drawn)[0, 0]
    assert red - green == 125 and green == blue < 100


def test_outlines_surround_shared_windows_alone() -> None:
    drawn = draw_overlay(GREY, ONE_CLASS, tokens=_tokens([5], {}), palette=((200, 200, 200),))
    pixels = np.asarray(drawn).astype(int)
    window = pixels[256:512, 256:512]  # window 5 of 4 x 4: row 1, column 1
    for edge in (window[0], window[-1], window[:, 0], window[:, -1]):
        assert np.array_equal(edge, np.broadcast_to(SHARED_BLUE, edge.shape))
    assert (window[128, 20:236] == 200).all()  # no line through the middle of the window
    outside = pixels[:1024].copy()
    outside[256:512, 256:512] = 200
    assert (outside == 200).all()


def test_dense_and_pruned_only_have_no_outlines(written: list[str]) -> None:
    for tokens in (None, _tokens([], {8: [3]})):
        drawn = draw_overlay(GREY, ONE_CLASS, tokens=tokens, palette=((200, 200, 200),))
        assert _count(drawn, SHARED_BLUE, drawn.height) == 0
    assert not any("shared" in text for text in written)
    assert written.count("TOKENS") == 1


def test_legend_says_what_the_picture_shows(written: list[str]) -> None:
    class_map = np.zeros((8, 8), int)
    class_map[0] = 1
    draw_overlay(
        GREY,
        class_map,
        tokens=_tokens([0, 3], {6: [0, 1, 2], 8: [5]}),
        classes=("wall", "sky"),
        title="x.jpg",
        notice="random weights, seed 0: predictions mean nothing",
    )
    assert written[:2] == ["x.jpg", "random weights, seed 0: predictions mean nothing"]
    for line in (
        "2 windows of 2x2 patches shared",
        "56 patches not shared",
        "departed after block 6: 3 tokens",
        "departed after block 8: 1 token",
        "stayed to the end: 54 tokens",
        "64 patches: 58 tokens",
    ):
        assert line in written
    assert written.index("wall") < written.index("sky")
    assert "87.5 %" in written and "12.5 %" in written


def test_legend_lists_at_most_twelve_classes_and_sums_up_the_rest(written: list[str]) -> None:
    class_map = np.repeat(np.arange(20), 5).reshape(10, 10)
    draw_overlay(GREY, class_map)
    assert sum(text.startswith("class ") for text in written) == 12
    assert "8 more classes" in written and "40.0 %" in written


def test_long_names_are_shortened_not_overprinted(written: list[str]) -> None:
    draw_overlay(GREY, ONE_CLASS, tokens=_tokens([0], {}), classes=("a very long class name " * 8,))
    (shown,) = [text for text in written if text.startswith("a very long")]
    assert shown.endswith("...") and len(shown) < 60


@pytest.mark.parametrize(
    ("size", "picture"),
    [
        ((20, 10), (1024, 512)),
        ((1200, 600), (1200, 600)),
        ((8000, 4000), (1600, 800)),
        ((5000, 2), (1600, 1)),
        ((1, 1), (1024, 1024)),
    ],
)
def test_drawing_fits_the_screen(size: tuple[int, int], picture: tuple[int, int]) -> None:
    drawn = draw_overlay(Image.new("RGB", size), ONE_CLASS, tokens=_tokens([0], {6: [4]}), title="t")
    assert drawn.width == max(picture[0], 960) <= LONGEST_SIDE
    assert drawn.height > picture[1]


def test_tall_photograph_is_centred_over_a_readable_legend() -> None:
    drawn = np.asarray(draw_overlay(Image.new("RGB", (200, 1200), (0, 0, 0)), ONE_CLASS, palette=((0, 0, 0),)))
    assert drawn.shape[1] == 960
    assert (drawn[:1200, 380:580] == 0).all() and (drawn[:1200, :380] == drawn[0, 0]).all() and drawn[0, 0].min() > 200


def test_photograph_is_left_as_it_was() -> None:
    photo = GREY.copy()
    draw_overlay(photo, ONE_CLASS, tokens=_tokens([0], {6: [4]}))
    assert np.array_equal(np.asarray(photo), np.asarray(GREY))
