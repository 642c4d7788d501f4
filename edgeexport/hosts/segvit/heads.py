"""SegViT's attention-to-mask heads: DToP's one-stage `PruneHead` and the original three-stage `ATMHead`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.segvit.spec import HeadSpec
from edgeexport.tokens.attention import CrossAttention, SelfAttention

__all__ = ["AtmHead", "DecoderLayer", "PruneHead", "head_from_spec"]


class DecoderLayer(nn.Module):
    """Post-norm decoder layer: self-attention over queries, cross-attention to tokens, ReLU feed-forward."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, num_heads)
        self.multihead_attn = CrossAttention(width, num_heads)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B or 1, K, d), (B, n, d) -> queries (B, K, d), mask logits (B, K, n).

        Queries of batch 1 broadcast: in the first layer they are weights alone, and exporters fold what is constant.
        """
        queries = self.norm1(queries + self.self_attn(queries))
        attended, logits = self.multihead_attn(queries, tokens)
        queries = self.norm2(queries + attended)
        queries = self.norm3(queries + self.linear2(F.relu(self.linear1(queries))))
        return queries, logits


class _Decoder(nn.Module):
    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(spec.width, spec.num_heads) for _ in range(spec.num_layers))

    def forward(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        logits = tokens.new_empty(0)
        for layer in self.layers:
            queries, logits = layer(queries, tokens)
        return queries, logits


class PruneHead(nn.Module):
    """One-stage head; each of its K queries is a class, and ``class_embed`` has two outputs (present, absent)."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        self.q = nn.Embedding(spec.num_classes, spec.width)
        self.input_proj = nn.Linear(spec.in_channels, spec.width)
        self.proj_norm = nn.LayerNorm(spec.width)
        self.decoder = _Decoder(spec)
        self.class_embed = nn.Linear(spec.width, 2)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n, C) -> class logits (B, K, 2), mask logits (B, K, n)."""
        lateral = self.proj_norm(self.input_proj(tokens))
        queries, mask_logits = self.decoder(self.q.weight[None], lateral)
        return self.class_embed(queries), mask_logits

    @staticmethod
    def token_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
        """Per-token class scores: softmax(class)[..., :1] x sigmoid(mask), (B, K, n)."""
        return class_logits.softmax(dim=-1)[..., :1] * mask_logits.sigmoid()


class AtmHead(nn.Module):
    """Three-stage head: chains its queries from the deepest backbone stage outwards and sums the mask logits."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        self.q = nn.Embedding(spec.num_classes, spec.width)
        for stage in range(1, len(spec.stages) + 1):
            self.add_module(f"input_proj_{stage}", nn.Linear(spec.in_channels, spec.width))
            self.add_module(f"proj_norm_{stage}", nn.LayerNorm(spec.width))
            self.add_module(f"decoder_{stage}", _Decoder(spec))
        self.class_embed = nn.Linear(spec.width, spec.num_classes + 1)

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Stages (B, n, C) each, deepest first -> class logits (B, K, K + 1), summed mask logits (B, K, n)."""
        queries = self.q.weight[None]
        total: Tensor | None = None
        for stage, tokens in enumerate(stages, start=1):
            lateral = self.get_submodule(f"proj_norm_{stage}")(self.get_submodule(f"input_proj_{stage}")(tokens))
            queries, logits = self.get_submodule(f"decoder_{stage}")(queries, lateral)
            total = logits if total is None else total + logits
        assert total is not None
        return self.class_embed(queries), total

    @staticmethod
    def image_scores(class_logits: Tensor, mask_logits: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Full-resolution scores: the mask LOGITS are resized, then mixed by class: (B, K, n) -> (B, K, H, W)."""
        masks = F.interpolate(mask_logits.unflatten(2, grid), size=size, mode="bilinear", align_corners=False).sigmoid()
        weights = class_logits.softmax(dim=-1)[..., :-1].transpose(1, 2)
        return torch.matmul(weights, masks.flatten(2)).unflatten(2, size)


def head_from_spec(spec: HeadSpec) -> PruneHead | AtmHead:
    """The head module of a `HeadSpec`."""
    return PruneHead(spec) if spec.type == "PruneHead" else AtmHead(spec)
