"""Where a prompt's visual tokens went: kept, merged into others or dropped, over the photograph, per group of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["CacheGroup", "cache_groups", "draw_cache_map"]

_KEPT, _MERGED, _DROPPED = (255, 200, 40), (60, 130, 255), (20, 20, 20)
_SIDE, _MARGIN, _LINE = 280, 10, 16
_GROUPS = 3


class CacheGroup:
    """Layers ``first`` to ``last`` (from 0): per visual token of one image the shares of layers and KV heads that keep it in a
    slot of its own, and that merge it into another's, float (rows, columns).
    """

    def __init__(self, first: int, last: int, kept: NDArray, merged: NDArray) -> None:
        self.first, self.last, self.kept, self.merged = first, last, kept, merged


def cache_groups(
    prefilled: Mapping[str, NDArray], layers: int, places: slice, grid: tuple[int, int]
) -> list[CacheGroup]:
    """The image whose visual tokens, rows x columns of them, stand at ``places`` of the prompt.

    Args:
        prefilled: Outputs of the prefill graph, with ``pivot.%d`` (1, H, S) and ``target.%d`` (1, H, L).
        layers: Of the model; put into three groups.
        places: Of the image in the prompt.
        grid: Rows and columns of visual tokens.
    """
    groups = []
    for numbers in np.array_split(np.arange(layers), min(_GROUPS, layers)):
        kept, merged = [], []
        for layer in numbers:
            pivot, target = prefilled[f"pivot.{layer}"][0], prefilled[f"target.{layer}"][0]
            for own, went in zip(pivot, target, strict=True):
                has_slot = np.zeros(went.shape, bool)
                has_slot[own[own >= 0]] = True
                kept.append(has_slot[places])
                merged.append((went >= 0)[places] & ~has_slot[places])
        shares = (np.mean(part, axis=0).reshape(grid) for part in (kept, merged))
        groups.append(CacheGroup(int(numbers[0]), int(numbers[-1]), *shares))
    return groups


def draw_cache_map(photo: Image.Image, groups: Sequence[CacheGroup], *, title: str, notice: str = "") -> Image.Image:
    """One panel per group: a token is brighter the more heads keep it, blue where it merges into others, dark where dropped."""
    height = max(int(_SIDE * photo.height / photo.width), 40)
    canvas = Image.new(
        "RGB", (len(groups) * (_SIDE + _MARGIN) + _MARGIN, height + 2 * _MARGIN + 4 * _LINE), (255, 255, 255)
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN // 2), title, (0, 0, 0))
    small = photo.convert("L").convert("RGB").resize((_SIDE, height))
    for number, group in enumerate(groups):
        left, top = _MARGIN + number * (_SIDE + _MARGIN), _MARGIN + _LINE
        colours = np.zeros((*group.kept.shape, 3))
        for share, colour in (
            (group.kept, _KEPT),
            (group.merged, _MERGED),
            (1 - group.kept - group.merged, _DROPPED),
        ):
            colours += share[..., None] * np.asarray(colour, np.float64)
        tint = Image.fromarray(colours.clip(0, 255).astype(np.uint8)).resize((_SIDE, height), Image.Resampling.NEAREST)
        canvas.paste(Image.blend(small, tint, 0.55), (left, top))
        told = f"layers {group.first}-{group.last}: kept {group.kept.mean():.0%}, merged {group.merged.mean():.0%}"
        draw.text((left, top + height + 2), told, (0, 0, 0))
    draw.text((_MARGIN, canvas.height - 2 * _LINE), "yellow: a slot of its own; blue: merged; dark: dropped", (0, 0, 0))
    if notice:
        draw.text((_MARGIN, canvas.height - _LINE), notice, (160, 0, 0))
    return canvas
