"""Segmenter's modules with mmsegmentation's key names. Both walks run on this one module, so they cannot differ in weights.

Source: Strudel et al., "Segmenter: Transformer for Semantic Segmentation", section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.segmentation.vit import VitBackbone, VitBlock
from edgeexport.hosts.segmenter.config import MASK_TRANSFORMER
from edgeexport.hosts.segmenter.spec import DecoderSpec, SegmenterSpec

__all__ = ["LinearDecoder", "MaskTransformer", "Segmenter"]


class LinearDecoder(nn.Module):
    """A linear layer on every token; mmsegmentation keeps its weight as a 1x1 convolution's."""

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.conv_seg = nn.Conv2d(spec.in_channels, spec.num_classes, kernel_size=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, n, C) -> class logits of each, (B, n, K)."""
        return F.linear(tokens, self.conv_seg.weight.flatten(1), self.conv_seg.bias)


class MaskTransformer(nn.Module):
    """Class embeddings run through transformer blocks beside the tokens; a token's logit of a class is the cosine of the two,
    normalised over classes.
    """

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        self.spec = spec
        width, eps = spec.embed_dims, spec.norm_eps
        self.layers = nn.ModuleList(VitBlock(spec) for _ in range(spec.num_layers))
        self.dec_proj = nn.Linear(spec.in_channels, width)
        self.cls_emb = nn.Parameter(torch.zeros(1, spec.num_classes, width))
        self.patch_proj = nn.Linear(width, width, bias=False)
        self.classes_proj = nn.Linear(width, width, bias=False)
        self.decoder_norm = nn.LayerNorm(width, eps=eps)
        self.mask_norm = nn.LayerNorm(spec.num_classes, eps=eps)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, n, C) -> class logits of each, (B, n, K)."""
        count = tokens.shape[1]
        x = self.dec_proj(tokens)
        x = torch.cat([x, self.cls_emb.expand(x.shape[0], -1, -1)], dim=1)
        for layer in self.layers:
            x = layer(x)
        x = self.decoder_norm(x)
        patches = F.normalize(self.patch_proj(x[:, :count]), dim=2)
        classes = F.normalize(self.classes_proj(x[:, count:]), dim=2)
        return self.mask_norm(patches @ classes.transpose(1, 2))


class Segmenter(nn.Module):
    """`backbone` and `decode_head`."""

    def __init__(self, spec: SegmenterSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = VitBackbone(spec.backbone)
        masks = spec.decode_head.type == MASK_TRANSFORMER
        self.decode_head = MaskTransformer(spec.decode_head) if masks else LinearDecoder(spec.decode_head)
