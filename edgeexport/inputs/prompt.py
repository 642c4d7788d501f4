"""A prompt as a language model's graphs take it: ids padded on the left, true positions, image patches. Runs without torch.

Positions are the tokens' own, whatever slots a cache has. With M-RoPE (Qwen2-VL, arXiv 2409.12191, section 2.1) a token has
three: text counts them up together, an image's tokens have its time, row and column, and text goes on behind the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeexport.errors import UsageError

__all__ = ["LaidOutPrompt", "image_patches", "laid_out_prompt", "token_positions"]

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class LaidOutPrompt:
    """One prompt in L places.

    Attributes:
        input_ids: int64 (1, L), 0 for padding, on the left.
        attention_mask: int64 (1, L), 1 for tokens.
        position_ids: int64 (1, L) or (3, 1, L).
        modality: int32 (1, L), 0 text, 1 visual.
        next_position: Of the first new token.
        tokens: How many of the places are taken.
    """

    input_ids: NDArray
    attention_mask: NDArray
    position_ids: NDArray
    modality: NDArray
    next_position: int
    tokens: int


def token_positions(
    ids: Sequence[int], image_token: int | None, grids: Sequence[tuple[int, int]], merge: int, axes: int
) -> NDArray:
    """int64 (axes, n), of n tokens without padding.

    Args:
        ids: ``image_token`` stands for every visual token.
        image_token: None: there are none.
        grids: (rows, columns) of patches of every image, in order.
        merge: Patches to a visual token along each axis.
        axes: 1, or 3 with M-RoPE.

    Raises:
        UsageError: Image tokens do not fit the images.
    """
    if axes == 1:
        return np.arange(len(ids), dtype=np.int64)[None]
    positions: list[tuple[int, int, int]] = []
    following, place, images = 0, 0, list(grids)
    while place < len(ids):
        if ids[place] != image_token:
            positions.append((following, following, following))
            following, place = following + 1, place + 1
            continue
        rows, columns = images.pop(0) if images else (0, 0)
        rows, columns = rows // merge, columns // merge
        count = rows * columns
        if not count or any(token != image_token for token in ids[place : place + count]):
            problem = f"the image tokens at place {place} do not fit images of {list(grids)} patches"
            raise UsageError("prompt", problem, "give one image for every image in the prompt")
        positions += [(following, following + n // columns, following + n % columns) for n in range(count)]
        following, place = following + max(rows, columns), place + count
    if images:
        raise UsageError("prompt", f"has no place for {len(images)} of the images", "name every image in the prompt")
    return np.asarray(positions, dtype=np.int64).reshape(-1, 3).T


def laid_out_prompt(
    ids: Sequence[int],
    length: int,
    *,
    image_token: int | None = None,
    grids: Sequence[tuple[int, int]] = (),
    merge: int = 1,
    axes: int = 1,
) -> LaidOutPrompt:
    """Lays ids out in ``length`` places; see `token_positions`.

    Raises:
        UsageError: The prompt is empty, or longer than ``length``.
    """
    if not ids:
        raise UsageError("prompt", "is empty", "give at least one token")
    if len(ids) > length:
        remedy = "shorten it, or build with a larger input.prompt"
        raise UsageError("prompt", f"has {len(ids)} tokens, more than the {length} places of the graph", remedy)
    own = token_positions(ids, image_token, grids, merge, axes)
    padding = length - len(ids)
    positions = np.zeros((axes, 1, length), np.int64)
    positions[:, 0, padding:] = own
    padded = np.zeros((1, length), np.int64)
    padded[0, padding:] = ids
    mask = (np.arange(length) >= padding).astype(np.int64)[None]
    visual = np.zeros_like(padded) if image_token is None else (padded == image_token) & (mask > 0)
    return LaidOutPrompt(
        input_ids=padded,
        attention_mask=mask,
        position_ids=positions[0] if axes == 1 else positions,
        modality=visual.astype(np.int32),
        next_position=int(own.max()) + 1,
        tokens=len(ids),
    )


def image_patches(photo: Image.Image, grid: tuple[int, int], patch: int, frames: int, merge: int) -> NDArray:
    """float32 (rows columns, 3 frames patch^2): an image stretched to the grid, normalised as CLIP's, cut into patches in the
    order in which they merge; every one repeated ``frames`` times, as a still image has no motion.
    """
    rows, columns = grid
    resized = photo.convert("RGB").resize((columns * patch, rows * patch), Image.Resampling.BICUBIC)
    pixels = (np.asarray(resized, np.float32) / 255 - np.asarray(_MEAN, np.float32)) / np.asarray(_STD, np.float32)
    cut = pixels.reshape(rows // merge, merge, patch, columns // merge, merge, patch, 3)
    squares = cut.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, 3, 1, patch * patch)
    return np.ascontiguousarray(np.broadcast_to(squares, (rows * columns, 3, frames, patch * patch))).reshape(
        rows * columns, -1
    )
