"""The camera: exposure, vignetting, blur, photon and read noise, 8-bit output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from examples.scenes.lighting import Light

__all__ = ["expose"]


def expose(
    rng: np.random.Generator,
    colour: NDArray[np.float32],
    light: Light,
    noise_rng: np.random.Generator | None = None,
) -> NDArray[np.uint8]:
    """A noisy uint8 (H, W, 3) photograph of linear-looking ``colour`` float32 (H, W, 3).

    The camera's settings are drawn from ``rng``, its noise from ``noise_rng`` (None: the same), another one for every frame.
    """
    size = colour.shape[0]
    offset = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    vignette = 1 - np.float32(rng.uniform(0.0, 0.14)) * (offset[:, None] ** 2 + offset[None, :] ** 2)
    gain = np.asarray(light.tint, np.float32) * np.float32(rng.uniform(0.85, 1.15) * 255)
    sharp = np.clip(colour * (vignette[..., None] * gain), 0, 255).astype(np.uint8)
    blurred = Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.0) * size / 256))
    photo = np.asarray(blurred, np.float32)
    photon, read = np.float32(rng.uniform(0.05, 0.5)), np.float32(rng.uniform(0.5, 3.0))
    noise = (noise_rng or rng).standard_normal(photo.shape, dtype=np.float32)
    return np.clip(photo + noise * np.sqrt(photo * photon + read * read) + np.float32(0.5), 0, 255).astype(np.uint8)
