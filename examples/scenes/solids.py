"""Boxes along the street: the face towards the camera and the face along the street, each with a material."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from examples.scenes.stage import Footprint, Stage, detail_at

__all__ = ["Plane", "Shader", "paint_front", "paint_side"]

Plane = NDArray[np.float32]
Shader = Callable[[Plane, Plane, Plane, float], tuple[Plane, "NDArray[np.bool_] | None"]]
"""(u metres, v metres, grain, detail) -> colour (h, w, 3) and, where the face is no full rectangle, its mask (h, w)."""


def paint_front(stage: Stage, box: Footprint, name: str, shader: Shader, extra: float = 0.0) -> None:
    """Paint the face towards the camera; ``extra`` metres above the height are offered to the shader (a gable)."""
    view = stage.view
    near = view.nearness(box.near_m)
    height = box.height + extra
    window = stage.canvas.window(view.x(box.left, near), view.y(height, near), view.x(box.right, near), view.y(0, near))
    if window is None:
        return
    x0, y0, x1, y1 = window
    scale = view.metre * near
    u = (np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - view.x(box.left, near))) / np.float32(scale)
    v = (np.float32(view.y(0, near) - 0.5) - np.arange(y0, y1, dtype=np.float32)) / np.float32(scale)
    grid_u, grid_v = (np.ascontiguousarray(plane) for plane in np.broadcast_arrays(u[None, :], v[:, None]))
    grain = stage.noise.cut("medium", y1 - y0, x1 - x0)
    colour, mask = shader(grid_u, grid_v, grain, detail_at(view, near))
    mask = np.ones(grid_u.shape, np.bool_) if mask is None else mask
    if extra == 0.0:
        mask = mask & (grid_v <= height)
    stage.canvas.paint(window, mask, colour * np.float32(stage.light.front), name, near)


def paint_side(stage: Stage, box: Footprint, name: str, shader: Shader) -> None:
    """Paint the face along the street that the camera sees, if it sees one (the box does not straddle it).

    ``u`` runs from the near edge away from the camera.
    """
    view = stage.view
    if box.left <= 0 <= box.right:
        return
    lateral = box.left if box.left > 0 else box.right
    near, far = view.nearness(box.near_m), view.nearness(box.far_m)
    columns = sorted((view.x(lateral, near), view.x(lateral, far)))
    # One column more at the near edge: the front, painted next, is rounded to whole pixels and must leave no gap.
    columns = [columns[0] - (lateral < 0), columns[1] + (lateral > 0)]
    top = min(view.y(box.height, near), view.y(box.height, far))
    window = stage.canvas.window(columns[0], top, columns[1], view.y(0, near))
    if window is None:
        return
    x0, y0, x1, y1 = window
    t = (np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - view.vanish_x)) / np.float32(lateral * view.metre)
    t = np.clip(t, np.float32(far), np.float32(near))
    ground = np.float32(view.horizon) + np.float32(view.size - view.horizon) * t
    v = (ground[None, :] - (np.arange(y0, y1, dtype=np.float32) + 0.5)[:, None]) / (np.float32(view.metre) * t)[None, :]
    u = np.float32(view.near_m) / t - np.float32(box.near_m)
    grid_u = np.ascontiguousarray(np.broadcast_to(u[None, :], v.shape))
    grain = stage.noise.cut("medium", y1 - y0, x1 - x0)
    colour, shape = shader(grid_u, v, grain, detail_at(view, (near + far) / 2))
    mask = (v >= 0) & (v <= box.height)
    if shape is not None:
        mask &= shape
    bright = np.float32(stage.light.side(faces_right=lateral < 0))
    stage.canvas.paint(window, mask, colour * bright, name, np.broadcast_to(t[None, :], v.shape))
