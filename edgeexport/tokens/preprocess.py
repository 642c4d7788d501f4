"""Image normalisation inside the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeexport.inputs.spec import InputSpec

__all__ = ["NormalisedImage", "normalised_image"]


def normalised_image(image: Tensor, spec: InputSpec) -> Tensor:
    """The normalised float32 (B, 3, H, W) image: as given, or from uint8 (B, H, W, 3) when the recipe preprocesses.

    Channels are moved first and then treated plane by plane: arithmetic over a last axis of 3 is slow in every runtime.
    """
    rule = spec.preprocess
    if rule is None:
        return image
    # The cast comes first: TensorRT takes uint8 as the input of a Cast and of nothing else.
    planes = image.to(torch.float32).permute(0, 3, 1, 2)
    if rule.bgr_to_rgb:
        planes = planes.index_select(1, torch.tensor([2, 1, 0]))
    mean = torch.tensor(rule.mean, dtype=torch.float32)[:, None, None]
    scale = torch.tensor([1.0 / value for value in rule.std], dtype=torch.float32)[:, None, None]
    return (planes - mean) * scale


class NormalisedImage(nn.Module):
    """`normalised_image` as a module without parameters, so that its nodes in a graph are told apart."""

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, image: Tensor) -> Tensor:
        return normalised_image(image, self.spec)
