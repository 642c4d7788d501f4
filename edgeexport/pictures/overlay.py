"""A prediction drawn over its photograph: classes in colour, token decisions by patch, a legend below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgeexport.pictures.canvas import LONGEST_SIDE, display_size, framed, of_pixels, patch_edges
from edgeexport.pictures.label_map import class_shares, palette_for, resized_class_map
from edgeexport.pictures.legend import Legend, LegendColumn, LegendEntry, percent_text
from edgeexport.pictures.token_map import TokenMap
from edgeexport.pictures.window_places import WHOLE, WindowPlace

__all__ = ["LONGEST_SIDE", "SHARED_BLUE", "draw_overlay", "stage_brightness"]

Colour = tuple[int, int, int]

SHARED_BLUE: Colour = (38, 118, 255)
_CLASS_OPACITY = 0.5
_MOST_CLASSES = 12
_DARKEST, _LIGHTEST = 0.1, 0.55


def draw_overlay(
    photo: Image.Image,
    class_map: NDArray,
    *,
    tokens: TokenMap | None = None,
    slid: Sequence[tuple[WindowPlace, TokenMap]] = (),
    classes: tuple[str, ...] = (),
    palette: tuple[Colour, ...] = (),
    title: str = "",
    notice: str = "",
) -> Image.Image:
    """Draws classes, shared windows (blue), and the photograph darker where tokens departed early.

    Args:
        photo: RGB, any size; drawn with its longest side between 1024 and 1600 pixels.
        class_map: int (h, w) of any size, class numbers; stretched over the photograph by nearest neighbour.
        tokens: The image's decisions; None draws the classes alone. Outlines appear where windows were shared,
            darkening where tokens were pruned, the earlier the darker; classes keep their colours there.
        slid: Instead of ``tokens`` the decisions of windows that slid over the image; where they overlap, each is drawn up to
            the middle.
        classes: Names by class number; may be empty.
        palette: Colours by class number; missing ones are generated.
        title: First line of the legend.
        notice: A warning that must not be overlooked, such as that the weights are random.
    """
    width, height = display_size(photo)
    labels = resized_class_map(class_map, height, width)
    colours = np.array(palette_for(int(class_map.max()) + 1, palette), dtype=np.float32)
    scene = np.asarray(photo.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)
    seen = [(WHOLE, tokens)] if tokens is not None else list(slid)
    for place, own in seen:
        rows, columns = place.box.pixels(height, width)
        factor = of_pixels(_brightness(own), rows.stop - rows.start, columns.stop - columns.start)
        scene[place.shown.pixels(height, width)] *= place.shown_of(factor, height, width)[..., None]
    blend = scene * (1 - _CLASS_OPACITY) + colours[labels] * _CLASS_OPACITY
    picture = Image.fromarray(blend.round().astype(np.uint8))
    for place, own in seen:
        if own.num_shared:
            _outline(picture, own, place)
    legend = _legend(class_map, [own for _, own in seen], classes, colours, title, notice)
    return framed([picture], legend)


def stage_brightness(stages: int) -> tuple[float, ...]:
    """Factor on the brightness of tokens that departed at each of ``stages`` stages, the first darkest."""
    if stages == 1:
        return (_DARKEST,)
    return tuple(_DARKEST + (_LIGHTEST - _DARKEST) * stage / (stages - 1) for stage in range(stages))


def _brightness(tokens: TokenMap) -> NDArray[np.float32]:
    """Factor per patch, float32 (rows, columns)."""
    factor = np.ones(tokens.grid, dtype=np.float32)
    for stage, brightness in zip(tokens.stages, stage_brightness(len(tokens.stages)), strict=True):
        factor[tokens.exit_block == stage.block] = brightness
    return factor


def _outline(picture: Image.Image, tokens: TokenMap, place: WindowPlace) -> None:
    """Blue around every shared window of 2x2 patches whose middle is shown; one that is too small is left out."""
    down, across = place.box.pixels(picture.height, picture.width)
    shown_rows, shown_columns = place.shown.pixels(picture.height, picture.width)
    rows = down.start + patch_edges(down.stop - down.start, tokens.grid[0])
    columns = across.start + patch_edges(across.stop - across.start, tokens.grid[1])
    draw, thickness = ImageDraw.Draw(picture), max(1, min(picture.size) // 700) + 1
    for row, column in np.argwhere(tokens.shared[::2, ::2]) * 2:
        left, top = columns[column], rows[row]
        right, bottom = columns[column + 2] - 1, rows[row + 2] - 1
        shown = shown_rows.start <= rows[row + 1] < shown_rows.stop
        shown = shown and shown_columns.start <= columns[column + 1] < shown_columns.stop
        if shown and right - left >= 2 and bottom - top >= 2:
            draw.rectangle((left, top, right, bottom), outline=SHARED_BLUE, width=thickness)


def _legend(
    class_map: NDArray,
    seen: Sequence[TokenMap],
    classes: tuple[str, ...],
    colours: NDArray[np.float32],
    title: str,
    notice: str,
) -> Legend:
    shares = class_shares(class_map, classes)
    entries = [
        LegendEntry(share.name, percent_text(share.share), fill=_colour(colours[share.index]))
        for share in shares[:_MOST_CLASSES]
    ]
    rest = shares[_MOST_CLASSES:]
    if rest:
        noun = "class" if len(rest) == 1 else "classes"
        entries.append(LegendEntry(f"{len(rest)} more {noun}", percent_text(sum(share.share for share in rest))))
    columns = [LegendColumn("Classes", tuple(entries), wide=True)]
    if seen and (seen[0].num_shared or seen[0].stages):  # the counts are the same in every window
        heading = "Tokens" if len(seen) == 1 else f"Tokens in each of {len(seen)} sliding windows"
        columns.append(LegendColumn(heading, tuple(_token_entries(seen[0]))))
    return Legend(tuple(columns), title, notice)


def _token_entries(tokens: TokenMap) -> list[LegendEntry]:
    entries = []
    patches = tokens.shared.size
    if tokens.num_shared:
        entries.append(LegendEntry(f"{tokens.num_shared} windows of 2x2 patches shared", outline=SHARED_BLUE))
        entries.append(LegendEntry(f"{tokens.num_unshared} patches not shared"))
    for stage, brightness in zip(tokens.stages, stage_brightness(len(tokens.stages)), strict=True):
        entries.append(LegendEntry(f"departed after block {stage.block}: {_tokens(stage.pruned)}", shade=brightness))
    if tokens.stages:
        entries.append(LegendEntry(f"stayed to the end: {_tokens(tokens.stages[-1].left)}", shade=1.0))
    if tokens.num_shared:
        entries.append(LegendEntry(f"{patches} patches: {_tokens(tokens.tokens_in)}"))
    return entries


def _tokens(count: int) -> str:
    return f"{count} token" if count == 1 else f"{count} tokens"


def _colour(values: NDArray[np.float32]) -> Colour:
    red, green, blue = (int(value) for value in values)
    return red, green, blue
