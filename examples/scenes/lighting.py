"""Light of a scene: sun side, shading of faces, shadows' reach, haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Light", "add_haze", "draw_light"]


@dataclass(frozen=True)
class Light:
    """Lighting of one scene."""

    overcast: bool
    sun_right: float
    """-1 (sun at the left) .. 1 (at the right)."""
    sun_behind: float
    """-1 (sun ahead, faces towards the camera are dark) .. 1 (behind the camera)."""
    contrast: float
    """Strength of directional shading and cast shadows, 0..1."""
    reach: float
    """Length of a shadow in metres per metre of height."""
    haze_per_m: float
    tint: tuple[float, float, float]
    """RGB gains: colour temperature times global gain."""
    haze_colour: tuple[float, float, float]

    @property
    def front(self) -> float:
        """Brightness of a face that looks at the camera."""
        return 1.0 - 0.3 * self.contrast * (0.5 - 0.5 * self.sun_behind)

    def side(self, faces_right: bool) -> float:
        """Brightness of a face along the street."""
        lit = self.sun_right if faces_right else -self.sun_right
        return 1.0 - 0.45 * self.contrast * (0.5 - 0.5 * lit)


def draw_light(rng: np.random.Generator) -> Light:
    """A random light."""
    overcast = bool(rng.random() < 0.3)
    warm = rng.uniform(-0.12, 0.12)
    gain = rng.uniform(0.75, 1.1)
    grey = rng.uniform(0.6, 0.85)
    return Light(
        overcast=overcast,
        sun_right=float(rng.uniform(-1, 1)),
        sun_behind=float(rng.uniform(-1, 1)),
        contrast=float(rng.uniform(0.1, 0.35) if overcast else rng.uniform(0.5, 1.0)),
        reach=float(rng.uniform(0.25, 1.1)),
        haze_per_m=float(rng.uniform(0.001, 0.018)),
        tint=(gain * (1 + warm), gain, gain * (1 - warm)),
        haze_colour=(grey * 0.97, grey, grey * 1.04),
    )


def add_haze(
    colour: NDArray[np.float32], nearness: NDArray[np.float32], near_m: float, light: Light
) -> NDArray[np.float32]:
    """Haze that grows with distance; sky (nearness 0) is left alone. Colour (H, W, 3), nearness (H, W) float32."""
    metres = np.float32(near_m) / np.maximum(nearness, np.float32(0.02))
    # d/(1+d) stands for 1-exp(-d): alike in shape, and exact arithmetic on every CPU.
    depth = metres * np.float32(light.haze_per_m)
    share = np.where(nearness > 0, depth / (1 + depth), 0).astype(np.float32)[..., None]
    return colour + (np.asarray(light.haze_colour, np.float32) - colour) * share
