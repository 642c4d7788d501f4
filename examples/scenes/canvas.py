"""The canvas: colour, label and nearness are written through one mask, so labels are exact by construction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from examples.scenes.classes import class_index

__all__ = ["Canvas"]


class Canvas:
    """What has been painted so far, back to front.

    ``colour`` float32 (H, W, 3), about 0..1 before exposure; ``label`` uint8 (H, W); ``nearness`` float32 (H, W), 1 at
    the near edge of the ground, 0 at infinity (see ``view.View``). Sky keeps nearness 0.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.colour: NDArray[np.float32] = np.zeros((size, size, 3), np.float32)
        self.label: NDArray[np.uint8] = np.full((size, size), class_index("sky"), np.uint8)
        self.nearness: NDArray[np.float32] = np.zeros((size, size), np.float32)

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int] | None:
        """The pixels whose centres lie in a rectangle, clipped to the frame: (x0, y0, x1, y1), or None if none do."""
        x0, y0 = max(0, int(np.ceil(left - 0.5))), max(0, int(np.ceil(top - 0.5)))
        x1, y1 = min(self.size, int(np.ceil(right - 0.5))), min(self.size, int(np.ceil(bottom - 0.5)))
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def paint(
        self,
        window: tuple[int, int, int, int],
        mask: NDArray[np.bool_],
        colour: NDArray[np.float32],
        name: str,
        nearness: float | NDArray[np.float32],
    ) -> None:
        """Paint ``colour`` (h, w, 3), class ``name`` and ``nearness`` (scalar or (h, w)) where ``mask`` (h, w) holds.

        ``window`` is (x0, y0, x1, y1) inside the frame, of the mask's size.
        """
        x0, y0, x1, y1 = window
        part = (slice(y0, y1), slice(x0, x1))
        np.copyto(self.colour[part], colour, where=mask[..., None])
        self.label[part][mask] = class_index(name)
        np.copyto(self.nearness[part], np.asarray(nearness, np.float32), where=mask)
