"""The plain Vision Transformer of mmsegmentation, with its key names, split into the steps that reductions cut between.

Steps: `patches_from_image` (pure), `VitBackbone.embed`, `VitBackbone.layers[i]`, `VitBackbone.finish`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.segmentation.spec import BackboneSpec, BlockSpec
from edgeexport.tokens.attention import SelfAttention

__all__ = ["VitBackbone", "VitBlock"]


class _Attention(nn.Module):
    """mmcv's wrapper level, kept for the key ``attn.attn``."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.attn = SelfAttention(spec.embed_dims, spec.num_heads, spec.qkv_bias)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.attn(x, bias)


class _FeedForward(nn.Module):
    """mmcv's FFN with its keys ``layers.0.0`` and ``layers.1``."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(width, hidden), nn.GELU()), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class VitBlock(nn.Module):
    """Pre-norm transformer block: (B, n, C) -> (B, n, C)."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(spec.embed_dims, eps=spec.norm_eps)
        self.attn = _Attention(spec)
        self.ln2 = nn.LayerNorm(spec.embed_dims, eps=spec.norm_eps)
        self.ffn = _FeedForward(spec.embed_dims, int(spec.embed_dims * spec.mlp_ratio))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``bias`` as in `edgeexport.tokens.attention.attend`."""
        x = x + self.attn(self.ln1(x), bias)
        return x + self.ffn(self.ln2(x))


class _PatchEmbed(nn.Module):
    """Holds the patch convolution's weights; applied as a product to flat patches."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.projection = nn.Conv2d(
            spec.in_channels, spec.embed_dims, spec.patch_size, stride=spec.patch_size, bias=spec.patch_bias
        )

    def forward(self, patches: Tensor) -> Tensor:
        return F.linear(patches, self.projection.weight.flatten(1), self.projection.bias)


class VitBackbone(nn.Module):
    """mmsegmentation's `VisionTransformer` / DToP's `ViT_prune` for inference.

    ``cls_token`` and ``pos_embed[:, 0]`` exist in every checkpoint; they are used only with ``with_cls_token``. A distilled
    encoder has ``dist_token`` as well, whose position is ``pos_embed[:, 1]``.
    """

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        grid = (spec.img_size[0] // spec.patch_size, spec.img_size[1] // spec.patch_size)
        self.trained_grid = grid
        self.patch_embed = _PatchEmbed(spec)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, spec.embed_dims))
        self.unpatched = 2 if spec.with_dist_token else 1  # positions that are no patch's
        if spec.with_dist_token:
            self.dist_token = nn.Parameter(torch.zeros(1, 1, spec.embed_dims))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid[0] * grid[1] + self.unpatched, spec.embed_dims))
        self.layers = nn.ModuleList(VitBlock(spec) for _ in range(spec.num_layers))
        if spec.final_norm:
            self.ln1 = nn.LayerNorm(spec.embed_dims, eps=spec.norm_eps)

    def position_grid(self, rows: int, columns: int) -> Tensor:
        """Position embedding of the patches for a grid of rows x columns: (1, rows * columns, C)."""
        grid = self.pos_embed[:, self.unpatched :]
        if (rows, columns) == self.trained_grid:
            return grid
        image = grid.transpose(1, 2).unflatten(2, self.trained_grid)
        mode = self.spec.interpolate_mode
        resized = F.interpolate(
            image, size=(rows, columns), mode=mode, align_corners=None if mode == "nearest" else False
        )
        return resized.flatten(2).transpose(1, 2)

    def embed(self, patches: Tensor, position: Tensor) -> Tensor:
        """Embeds flat patches (B, n, 3 P^2) and adds their positions (1 or B, n, C); prefix tokens come first."""
        x = self.patch_embed(patches) + position
        first = self.prefix_tokens()
        return x if first is None else torch.cat([first.expand(x.shape[0], -1, -1), x], dim=1)

    def prefix_tokens(self) -> Tensor | None:
        """Class and distillation token with their positions, (1, p, C); None where the blocks see patches alone."""
        if not self.spec.with_cls_token:
            return None
        tokens: list[Tensor] = [self.cls_token, self.dist_token] if self.spec.with_dist_token else [self.cls_token]
        return torch.cat(tokens, dim=1) + self.pos_embed[:, : self.unpatched]

    def patch_tokens(self, x: Tensor, block: int) -> Tensor:
        """What a head reads after 1-based ``block``: final norm after the last one, prefix tokens dropped."""
        if self.spec.final_norm and block == self.spec.num_layers:
            x = self.ln1(x)
        return x[:, self.spec.prefix :] if self.spec.prefix else x
