from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeexport.pictures.class_probability import ClassProbability
from edgeexport.pictures.merge_map import MergedBlock, MergeMap
from edgeexport.pictures.merged_regions import draw_merged_regions, region_borders

SIDE, GUTTER = 1024, 24


def _merges(final: list[list[int]], prefix: int = 0, dense: bool = False, blocks: tuple[Any, ...] = ()) -> MergeMap:
    tokens = np.array(final, np.int32)
    out = int(tokens.max()) + 1
    steps = blocks or (MergedBlock(1, tokens.size + prefix - out, out),)
    return MergeMap(tokens, prefix, tokens.size + prefix, out, dense, steps)


def _photo(seed: int = 0) -> Image.Image:
    """4 x 4 patches of 256 pixels, each of one colour, so that resizing leaves it alone."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(colours.repeat(256, axis=0).repeat(256, axis=1))


def _regions(image: Image.Image) -> NDArray:
    return np.asarray(image)[:SIDE, SIDE + GUTTER : 2 * SIDE + GUTTER].astype(int)


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_borders_equal_brute_force(thickness: int) -> None:
    patches = np.random.default_rng(thickness).integers(0, 3, (5, 6))
    regions = np.kron(patches, np.ones((4, 5), int))
    expected = np.zeros(regions.shape, bool)
    for y, x in np.ndindex(regions.shape):
        around = regions[max(y - thickness, 0) : y + thickness + 1, max(x - thickness, 0) : x + thickness + 1]
        expected[y, x] = (around != regions[y, x]).any()
    assert np.array_equal(region_borders(regions, thickness), expected)


def test_photograph_stands_beside_mean_colours() -> None:
    final = [[1, 1, 2, 3], [1, 4, 5, 3], [6, 7, 8, 9], [10, 11, 12, 1]]  # token 1 has a part that lies apart
    photo = _photo()
    drawn = draw_merged_regions(photo, _merges(final, prefix=1))
    assert drawn.width == 2 * SIDE + GUTTER and drawn.height > SIDE
    assert np.array_equal(np.asarray(drawn)[:SIDE, :SIDE], np.asarray(photo))
    colours = np.asarray(photo)[128::256, 128::256].astype(float)
    middles = _regions(drawn)[128::256, 128::256]
    for token in range(1, 13):
        inside = np.array(final) == token
        assert np.abs(middles[inside] - colours[inside].mean(axis=0)).max() <= 0.5


def test_a_border_is_the_regions_own() -> None:
    final = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 3, 1, 1], [4, 5, 0, 0]]
    pixels = _regions(draw_merged_regions(Image.new("RGB", (SIDE, SIDE), (120, 120, 120)), _merges(final)))
    first, second = pixels[100, 511], pixels[100, 512]
    assert not np.array_equal(first, second)
    for colour in (first, second):
        assert colour.max() - colour.min() > 120  # a hue
    assert np.array_equal(pixels[511, 100], first) and np.array_equal(pixels[768, 600], first)  # the part apart as well
    assert np.array_equal(pixels[600, 512], second)
    single = pixels[600, 255]
    assert np.array_equal(single, pixels[767, 100]) and single.max() - single.min() == 0 and single[0] != 120
    # Neither inside a region nor at the picture's edge.
    for at in ((100, 255), (255, 100), (0, 100), (100, 0), (0, 900), (1023, 900), (900, 0)):
        assert pixels[at].tolist() == [120, 120, 120]


@pytest.mark.parametrize("level", [0, 40, 128, 220, 255])
def test_borders_are_seen_on_dark_and_light(level: int) -> None:
    final = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 3, 1, 1], [4, 5, 1, 1]]
    pixels = _regions(draw_merged_regions(Image.new("RGB", (SIDE, SIDE), (level,) * 3), _merges(final)))
    for at in ((100, 511), (100, 512), (600, 255), (600, 256)):
        assert np.abs(pixels[at] - level).max() >= 28


def test_neighbours_differ_in_hue() -> None:
    rng = np.random.default_rng(3)
    final = np.kron(rng.permutation(64).reshape(8, 8), np.ones((2, 2), int))
    pixels = _regions(draw_merged_regions(Image.new("RGB", (SIDE, SIDE), (10, 10, 10)), _merges(final.tolist())))
    for row in range(8):
        for column in range(7):
            left, right = (pixels[128 * row + 64, 128 * (column + 1) + side] for side in (-1, 0))
            assert np.abs(left - right).max() > 60


def test_pruned_patches_are_dark_without_border() -> None:
    final = [[-1, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    pixels = _regions(draw_merged_regions(Image.new("RGB", (SIDE, SIDE), (200, 200, 200)), _merges(final, dense=True)))
    assert (pixels[:256, :256] == 60).all()
    assert (pixels[100, 257] != 200).any() and (pixels[400, 400] == 200).all()


def test_legend_counts(written: list[str]) -> None:
    blocks = (MergedBlock(1, 3, 14), MergedBlock(2, 3, 11), MergedBlock(4, 3, 8), MergedBlock(5, 1, 7))
    final = [[1, 1, 2, 3], [1, 1, 2, 3], [4, 4, 5, 5], [4, 4, 6, 6]]
    classes = (ClassProbability(3, "tabby", 0.61), ClassProbability(7, "class 7", 0.0002))
    draw_merged_regions(
        _photo(), _merges(final, 1, blocks=blocks), classes=classes, title="x.jpg", notice="random weights"
    )
    assert written[:2] == ["x.jpg", "random weights"]
    pairs = set(itertools.pairwise(written))
    for value, text in (
        ("17", "at first (16 patches)"),
        ("7", "at the end"),
        ("6", "of 2 to 4 patches"),
        ("1", "prefix tokens"),
        ("3 each", "blocks 1 to 2"),
        ("3", "block 4"),
        ("1", "block 5"),
        ("61.0 %", "tabby"),
        ("< 0.1 %", "class 7"),
    ):
        assert (value, text) in pairs
    assert "of a single patch" not in written


def test_legend_shows_both_borders() -> None:
    below = np.asarray(draw_merged_regions(_photo(), _merges([[0, 1], [2, 2]])))[SIDE:]
    for colour in ((214, 40, 57), (24, 150, 84), (38, 98, 255), (230, 160, 10), (128, 134, 142)):
        assert (below == colour).all(axis=-1).sum() > 30


def test_legend_of_a_dense_model(written: list[str]) -> None:
    draw_merged_regions(_photo(), _merges([[0, 1], [2, 2]], dense=True, blocks=(MergedBlock(6, 1, 3),)))
    pairs = set(itertools.pairwise(written))
    assert ("3", "inside block 6") in pairs and ("2", "of a single patch") in pairs
    assert ("1", "of 2 patches") in pairs
    assert "MERGED AND UNMERGED BY BLOCK" in written and "prefix tokens" not in written


@pytest.mark.parametrize(
    ("size", "picture"),
    [((20, 10), (1024, 512)), ((8000, 4000), (1280, 640)), ((5000, 2), (1280, 1)), ((1, 1), (1024, 1024))],
)
def test_drawing_fits_the_screen(size: tuple[int, int], picture: tuple[int, int]) -> None:
    drawn = draw_merged_regions(Image.new("RGB", size), _merges([[0, 1, 1], [2, 3, 3]]), title="t")
    assert drawn.width == 2 * picture[0] + GUTTER and drawn.height > picture[1]
