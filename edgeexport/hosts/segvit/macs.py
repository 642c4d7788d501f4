"""Multiply-accumulates of SegViT's heads, as exact integers per image; the convention is that of `edgeexport.cost.macs`."""

from __future__ import annotations

from edgeexport.cost.macs import layer_norm_macs

__all__ = ["atm_head_macs", "mask_einsum_macs", "prune_head_macs"]


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
