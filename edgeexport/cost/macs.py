"""Multiply-accumulates of a model's parts, as exact integers per image; merging blocks are in `merge_macs`.

Convention (fvcore's, which the published tables use): one multiply-accumulate counts 1, LayerNorm 5 per element,
inference BatchNorm 2 per element, bilinear resize 4 per output element. Biases, activations, softmax, additions,
pooling, selection and gathers count nothing. Throughout, n tokens of width C, K classes, head width d.
Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BlockMacs",
    "atm_head_macs",
    "bilinear_resize_macs",
    "layer_norm_macs",
    "mask_einsum_macs",
    "patch_embedding_macs",
    "policy_network_macs",
    "prune_head_macs",
    "vit_block_macs",
]

_LAYER_NORM = 5
_BATCH_NORM = 2
_BILINEAR = 4


@dataclass(frozen=True)
class BlockMacs:
    """One ViT block: attention (projections and both products), MLP, its LayerNorms, and the matching of a merge.

    ``matching`` is the similarity of every source with every destination; 0 where nothing merges.
    """

    attention: int
    mlp: int
    norms: int
    matching: int = 0

    @property
    def total(self) -> int:
        return self.attention + self.mlp + self.norms + self.matching


def layer_norm_macs(n: int, width: int) -> int:
    """LayerNorm over n tokens."""
    return _LAYER_NORM * n * width


def bilinear_resize_macs(channels: int, height: int, width: int) -> int:
    """Bilinear resize to (channels, height, width)."""
    return _BILINEAR * channels * height * width


def vit_block_macs(n: int, width: int, hidden: int | None = None) -> BlockMacs:
    """Pre-norm ViT block: ``12 n C^2 + 2 n^2 C + 10 n C`` with the usual MLP of ``hidden`` = 4 C channels."""
    return BlockMacs(
        attention=4 * n * width**2 + 2 * n**2 * width,
        mlp=2 * n * width * (4 * width if hidden is None else hidden),
        norms=2 * layer_norm_macs(n, width),
    )


def patch_embedding_macs(n: int, in_channels: int, patch_size: int, width: int, frames: int = 1) -> int:
    """Projection of n flattened patches, each of ``frames`` x ``patch_size`` x ``patch_size`` pixels."""
    return n * in_channels * frames * patch_size**2 * width


def prune_head_macs(n: int, in_channels: int, width: int, num_layers: int, num_classes: int) -> int:
    """`PruneHead`: input projection and norm, decoder, class embedding with 2 outputs.

    ``n C d + 5 n d + l (14 K d^2 + 2 K^2 d + 2 n d^2 + 2 n K d + 15 K d) + 2 K d`` with l layers.
    """
    return _decoder_stage_macs(n, in_channels, width, num_layers, num_classes) + 2 * num_classes * width


def atm_head_macs(n: int, in_channels: int, width: int, num_layers: int, num_classes: int, num_stages: int) -> int:
    """`ATMHead`: a decoder per backbone stage, and one class embedding with K + 1 outputs.

    The class embedding of the earlier stages serves training losses alone and is not counted. The head's
    full-resolution tail is `bilinear_resize_macs` and `mask_einsum_macs`.
    """
    stage = _decoder_stage_macs(n, in_channels, width, num_layers, num_classes)
    return num_stages * stage + num_classes * (num_classes + 1) * width


def mask_einsum_macs(num_classes: int, height: int, width: int) -> int:
    """`ATMHead`'s product of K query probabilities over K classes with K masks at full resolution."""
    return num_classes**2 * height * width


def _decoder_stage_macs(n: int, in_channels: int, width: int, num_layers: int, num_classes: int) -> int:
    """Input projection, its norm, and ``num_layers`` post-norm decoder layers of K queries on n tokens."""
    k, d = num_classes, width
    self_attention = 4 * k * d**2 + 2 * k**2 * d
    cross_attention = 2 * k * d**2 + 2 * n * d**2 + 2 * n * k * d
    feed_forward = 8 * k * d**2
    layer = self_attention + cross_attention + feed_forward + 3 * layer_norm_macs(k, d)
    return n * in_channels * d + layer_norm_macs(n, d) + num_layers * layer


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
