"""Image normalisation inside the model."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeexport.recipe.schema import InputSpec

__all__ = ["normalised_image"]


def normalised_image(image: Tensor, spec: InputSpec) -> Tensor:
    """The normalised float32 (B, 3, H, W) image: as given, or from uint8 (B, H, W, 3) when the recipe preprocesses."""
    rule = spec.preprocess
    if rule is None:
        return image
    pixels = image.to(torch.float32)
    if rule.bgr_to_rgb:
        # Slices instead of flip: a flip exports as a strided Slice with negative step, which some parsers refuse.
        pixels = torch.cat([pixels[..., 2:3], pixels[..., 1:2], pixels[..., 0:1]], dim=-1)
    mean = torch.tensor(rule.mean, dtype=torch.float32)
    scale = torch.tensor([1.0 / value for value in rule.std], dtype=torch.float32)
    return ((pixels - mean) * scale).permute(0, 3, 1, 2)
