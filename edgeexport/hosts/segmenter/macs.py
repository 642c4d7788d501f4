"""Multiply-accumulates of Segmenter's decoders, exact integers per image, by the convention of `edgeexport.cost.macs`."""

from __future__ import annotations

from edgeexport.cost.macs import layer_norm_macs, vit_block_macs
from edgeexport.hosts.segmenter.config import MASK_TRANSFORMER
from edgeexport.hosts.segmenter.spec import DecoderSpec

__all__ = ["decoder_macs"]


def decoder_macs(spec: DecoderSpec, n: int) -> int:
    """The decoder on n tokens.

    Linear: ``n C K``. Mask transformer of width d with K classes: ``n C d``, its blocks on n + K tokens, a norm of those,
    ``(n + K) d^2`` for both projections, ``n K d`` for the masks and their norm over K classes.
    """
    k, d = spec.num_classes, spec.embed_dims
    if spec.type != MASK_TRANSFORMER:
        return n * spec.in_channels * k
    block = vit_block_macs(n + k, d, int(spec.mlp_ratio * d)).total
    norms = layer_norm_macs(n + k, d) + layer_norm_macs(n, k)
    return n * spec.in_channels * d + spec.num_layers * block + norms + (n + k) * d**2 + n * k * d
