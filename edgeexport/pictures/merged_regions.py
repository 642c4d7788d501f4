"""Merged tokens as a picture: each final token's patches in their mean colour, with a border of the token's own."""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.pictures.canvas import display_size, framed, of_pixels
from edgeexport.pictures.class_probability import ClassProbability
from edgeexport.pictures.legend import Legend, LegendColumn, LegendEntry, percent_text
from edgeexport.pictures.merge_map import MergeMap
from edgeexport.pictures.window_places import WHOLE, WindowPlace

__all__ = ["draw_merged_regions", "region_borders"]

Colour = tuple[int, int, int]

# Two pictures stand side by side, so that each is smaller than an overlay.
_LONGEST_SIDE = 1280
_HUES = 24
_PRUNED_BRIGHTNESS = 0.3
_GREYISH = 60  # colours whose channels differ by no more go with borders of every hue
_MERGED_SWATCH: tuple[Colour, Colour, Colour, Colour] = ((214, 40, 57), (24, 150, 84), (38, 98, 255), (230, 160, 10))
_ALONE_SWATCH: Colour = (128, 134, 142)


def draw_merged_regions(
    photo: Image.Image,
    merges: MergeMap | None,
    *,
    slid: Sequence[tuple[WindowPlace, MergeMap]] = (),
    classes: tuple[ClassProbability, ...] = (),
    title: str = "",
    notice: str = "",
) -> Image.Image:
    """Draws the photograph and, beside it, what the model's last tokens hold of it.

    Every final token's patches are filled with their mean colour. A token of several patches has a border in a hue of
    its own (neighbouring tokens differ, and parts of one token that lie apart are told by it); a patch that stayed
    alone has a quiet border in a shade of its own colour. Borders lie inside, between tokens and not at the picture's
    edge. Patches whose tokens were pruned before are left as they are, but dark.

    Args:
        photo: RGB, any size; each picture is drawn with its longest side between 1024 and 1280 pixels.
        merges: The image's merges; patches are stretched over the photograph as the model sees them.
        slid: Instead of it those of windows that slid over the image; where they overlap, each is drawn up to the middle.
        classes: The most probable classes, for the legend; may be empty.
        title: First line of the legend.
        notice: A warning that must not be overlooked, such as that the weights are random.
    """
    width, height = display_size(photo, _LONGEST_SIDE)
    scene = photo.resize((width, height), Image.Resampling.LANCZOS)
    seen = [(WHOLE, merges)] if merges is not None else list(slid)
    pixels = np.asarray(scene)
    drawn = pixels.copy()
    for place, own in seen:
        filled = _filled(pixels[place.box.pixels(height, width)], own)
        drawn[place.shown.pixels(height, width)] = place.shown_of(filled, height, width)
    maps = [own for _, own in seen]
    columns_below = [_tokens_column(maps), _blocks_column(maps[0])]
    if classes:
        entries = tuple(LegendEntry(item.name, percent_text(item.probability)) for item in classes)
        columns_below.append(LegendColumn("Most probable classes", entries))
    return framed([scene, Image.fromarray(drawn)], Legend(tuple(columns_below), title, notice))


def _filled(pixels: NDArray[np.uint8], merges: MergeMap) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of an image or window as its tokens hold them."""
    height, width = pixels.shape[:2]
    regions = of_pixels(np.maximum(merges.final_token - merges.prefix, -1), height, width)
    gone = regions < 0
    fill = _mean_colours(pixels[~gone], regions[~gone], merges.tokens_out - merges.prefix)
    drawn = np.where(gone[..., None], (pixels * _PRUNED_BRIGHTNESS).round().astype(np.uint8), fill[regions])
    rows, columns = merges.final_token.shape
    thickness = _thickness(min(height / rows, width / columns))
    if thickness:
        at = region_borders(regions, thickness) & ~gone
        drawn[at] = _border_colours(merges, fill)[regions[at]]
    return drawn


def region_borders(regions: NDArray, thickness: int) -> NDArray[np.bool_]:
    """Pixels within ``thickness`` of another region, bool (H, W), for an int map (H, W) whose patches are no thinner."""
    border = np.zeros(regions.shape, dtype=np.bool_)
    height, width = regions.shape
    # A shift by the whole thickness leaves the patch from each of its border pixels, corners included.
    for down, right in ((0, thickness), (thickness, 0), (thickness, thickness)):
        here = (slice(0, height - down), slice(0, width - right))
        there = (slice(down, height), slice(right, width))
        for one, other in ((here, there), ((here[0], there[1]), (there[0], here[1]))):
            differs = regions[one] != regions[other]
            border[one] |= differs
            border[other] |= differs
    return border


def _mean_colours(pixels: NDArray[np.uint8], regions: NDArray, count: int) -> NDArray[np.uint8]:
    """Mean colour of every region of pixels (n, 3), regions (n,): uint8 (count, 3); black where it has no pixel."""
    sizes = np.maximum(np.bincount(regions, minlength=count), 1)
    sums = [np.bincount(regions, pixels[:, channel], minlength=count) for channel in range(3)]
    return (np.stack(sums, axis=1) / sizes[:, None]).round().astype(np.uint8)


def _thickness(patch: float) -> int:
    """Pixels of a border inside a patch of ``patch`` pixels; 0 where there is no room."""
    return 0 if patch < 4 else int(min(max(round(patch / 14), 1), 4))


def _border_colours(merges: MergeMap, fill: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Border colour of every region, uint8 (regions, 3): lighter than a dark fill, darker than a light one."""
    luminance = fill.astype(np.float64) @ (0.299, 0.587, 0.114) / 255
    hues = _hues(merges, fill)
    colours = np.empty_like(fill)
    for region, (count, level) in enumerate(zip(merges.patches_of_token, luminance, strict=True)):
        if count == 1:
            own = fill[region].astype(np.float64)
            colours[region] = (own * 0.72 if level > 0.35 else own + (255 - own) * 0.22).round()
        else:
            lightness = 0.64 if level < 0.5 else 0.42
            colours[region] = [round(255 * part) for part in colorsys.hls_to_rgb(hues[region], lightness, 0.95)]
    return colours


def _hues(merges: MergeMap, fill: NDArray[np.uint8]) -> list[float]:
    """A hue 0..1 for every region: on a circle of hues one far from those of its neighbours and of its own fill."""
    grid = np.maximum(merges.final_token - merges.prefix, -1)
    neighbours: dict[int, set[int]] = {}
    for one, other in ((grid[:, :-1], grid[:, 1:]), (grid[:-1], grid[1:])):
        for first, second in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
            if first != second and min(first, second) >= 0:
                neighbours.setdefault(first, set()).add(second)
                neighbours.setdefault(second, set()).add(first)
    large = np.flatnonzero(merges.patches_of_token > 1).tolist()
    chosen: dict[int, int] = {}
    used = [0] * _HUES
    for region in large:
        taken = [chosen[other] for other in neighbours.get(region, ()) if other in chosen]
        if int(np.ptp(fill[region])) > _GREYISH:
            taken.append(round(colorsys.rgb_to_hls(*(fill[region] / 255).tolist())[0] * _HUES) % _HUES)

        def merit(hue: int, taken: list[int] = taken) -> tuple[int, int]:
            apart = min((min((hue - other) % _HUES, (other - hue) % _HUES) for other in taken), default=_HUES)
            return min(apart, 4), -used[hue]

        chosen[region] = max(range(_HUES), key=merit)
        used[chosen[region]] += 1
    return [chosen.get(region, 0) / _HUES for region in range(merges.tokens_out - merges.prefix)]


def _tokens_column(seen: Sequence[MergeMap]) -> LegendColumn:
    """Of an image; of windows what each begins and ends with, and how many tokens all of them together have of a kind."""
    merges = seen[0]
    counts = np.concatenate([own.patches_of_token for own in seen])
    alone, large = int((counts == 1).sum()), counts[counts > 1]
    last = f"inside block {merges.blocks[-1].block}" if merges.dense else "at the end"
    entries = [
        LegendEntry(f"at first ({merges.final_token.size} patches)", str(merges.tokens_in)),
        LegendEntry(last, str(merges.tokens_out)),
    ]
    if large.size:
        sizes = f"{large.min()}" if large.min() == large.max() else f"{large.min()} to {large.max()}"
        entries.append(LegendEntry(f"of {sizes} patches", str(large.size), sides=_MERGED_SWATCH))
    if alone:
        entries.append(LegendEntry("of a single patch", str(alone), outline=_ALONE_SWATCH))
    if merges.prefix:
        entries.append(LegendEntry("prefix tokens", str(merges.prefix)))
    gone = sum(int((own.final_token < 0).sum()) for own in seen)
    if gone:
        entries.append(LegendEntry("patches pruned before", str(gone), shade=_PRUNED_BRIGHTNESS))
    heading = "Tokens" if len(seen) == 1 else f"Tokens in each of {len(seen)} sliding windows; kinds in all"
    return LegendColumn(heading, tuple(entries))


def _blocks_column(merges: MergeMap) -> LegendColumn:
    """Blocks one after the other that merge the same number share a line."""
    heading = "Merged and unmerged by block" if merges.dense else "Merged by block"
    runs: list[list[int]] = []
    for step, previous in zip(merges.blocks, itertools.chain([None], merges.blocks), strict=False):
        if previous is None or (previous.block + 1, previous.merged) != (step.block, step.merged):
            runs.append([step.block, step.block, step.merged])
        runs[-1][1] = step.block
    entries = tuple(
        LegendEntry(f"block {first}", str(merged))
        if first == last
        else LegendEntry(f"blocks {first} to {last}", f"{merged} each")
        for first, last, merged in runs
    )
    return LegendColumn(heading, entries, wide=True)
