"""CTS's policy network: EfficientNet-Lite0 features at stride 32 and a 1x1 convolution (published key names)."""

from __future__ import annotations

import timm
from torch import Tensor, nn

__all__ = ["PolicyNetwork"]


class PolicyNetwork(nn.Module):
    """Scores every 2x2 patch window of a 16-pixel grid: can its four patches share one token?"""

    def __init__(self) -> None:
        super().__init__()
        # `pretrained=False` also keeps timm from asking a model hub.
        self.backbone = timm.create_model("efficientnet_lite0", pretrained=False, features_only=True, out_indices=(4,))
        self.head = nn.Conv2d(320, 2, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised image (B, 3, H, W) -> logits (B, 2, H / 32, W / 32); channel 1 votes for sharing."""
        return self.head(self.backbone(image)[0])
