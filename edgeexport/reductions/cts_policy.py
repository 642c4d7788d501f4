"""CTS's policy network: EfficientNet-Lite0 features at stride 32 and a 1x1 convolution (published key names)."""

from __future__ import annotations

from dataclasses import dataclass

import timm
from torch import Tensor, nn

__all__ = ["PolicyNetwork", "policy_network_macs"]

_BATCH_NORM = 2  # multiply-accumulates per element, by the convention of `edgeexport.cost.macs`


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


@dataclass(frozen=True)
class _Stage:
    """Repeated EfficientNet blocks; the first has ``stride``, the rest stride 1. ``expand`` 1: no expansion layer."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


# EfficientNet-Lite0: fixed 32-channel stem; Lite keeps the repeats of the first and last stage and has no
# squeeze-and-excitation (Tan & Le 2019 for B0; TensorFlow's EfficientNet-Lite release for the changes).
_STEM_CHANNELS = 32


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def policy_network_macs(height: int, width: int) -> int:
    """CTS's policy network on a ``height`` x ``width`` pixel image: EfficientNet-Lite0 at stride 32, then 1x1 to 2.

    The BatchNorms are counted, as the published convention does, although an exporter may fold them (3.5 %).
    """
    h, w = -(-height // 2), -(-width // 2)
    channels = _STEM_CHANNELS
    macs = h * w * channels * (3 * 9 + _BATCH_NORM)
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            hidden = channels * stage.expand
            if stage.expand > 1:
                macs += h * w * hidden * (channels + _BATCH_NORM)
            h, w = -(-h // stride), -(-w // stride)
            macs += h * w * hidden * (stage.kernel**2 + _BATCH_NORM)
            macs += h * w * stage.channels * (hidden + _BATCH_NORM)
            channels = stage.channels
    return macs + h * w * channels * 2
