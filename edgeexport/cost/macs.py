"""Multiply-accumulates of a model's parts, as exact integers per image.

Convention (fvcore's, which the published tables use): one multiply-accumulate counts 1, LayerNorm 5 per element,
inference BatchNorm 2 per element, bilinear resize 4 per output element. Biases, activations, softmax, additions,
pooling, selection and gathers count nothing. Throughout, n tokens of width C, K classes, head width d.
Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BlockMacs", "bilinear_resize_macs", "layer_norm_macs", "patch_embedding_macs", "vit_block_macs"]

_LAYER_NORM = 5
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

    def times(self, count: int) -> BlockMacs:
        """Of as many runs."""
        return BlockMacs(count * self.attention, count * self.mlp, count * self.norms, count * self.matching)

    @property
    def total(self) -> int:
        return self.attention + self.mlp + self.norms + self.matching


def layer_norm_macs(n: int, width: int) -> int:
    """LayerNorm over n tokens."""
    return _LAYER_NORM * n * width


def bilinear_resize_macs(channels: int, height: int, width: int) -> int:
    """Bilinear resize to (channels, height, width)."""
    return _BILINEAR * channels * height * width


def vit_block_macs(
    n: int, width: int, hidden: int | None = None, *, mlp_tokens: int | None = None, norm_tokens: int | None = None
) -> BlockMacs:
    """Pre-norm ViT block: ``12 n C^2 + 2 n^2 C + 10 n C`` with the usual MLP of 4 C channels.

    With n tokens at the attention and m at the MLP (ToMe): ``4 n C^2 + 2 n^2 C + 5 n C``, and ``8 m C^2 + 5 m C``.

    Args:
        n: Tokens of the attention.
        width: C.
        hidden: Channels of the MLP; None: 4 C.
        mlp_tokens: Tokens of the MLP; None: n.
        norm_tokens: Tokens of both norms together; None: 2 n.
    """
    m = n if mlp_tokens is None else mlp_tokens
    return BlockMacs(
        attention=4 * n * width**2 + 2 * n**2 * width,
        mlp=2 * m * width * (4 * width if hidden is None else hidden),
        norms=layer_norm_macs(2 * n if norm_tokens is None else norm_tokens, width),
    )


def patch_embedding_macs(n: int, in_channels: int, patch_size: int, width: int, frames: int = 1) -> int:
    """Projection of n flattened patches, each of ``frames`` x ``patch_size`` x ``patch_size`` pixels."""
    return n * in_channels * frames * patch_size**2 * width
