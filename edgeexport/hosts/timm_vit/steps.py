"""timm's `VisionTransformer` as a host for token merging: rebuilt from its spec, and taken apart into the steps between
which tokens merge.

The model object is timm's own and stays as it is: nothing is patched, subclassed or assigned. Steps: `embedded_tokens`,
`attention_branch`, `mlp_branch`, `logits_from_tokens`.

Norms, linear layers and residuals run on rows (B N, C): ONNX Runtime wraps every product of three axes in two reshapes, and
without them DeiT-S takes 6 % less time (ratio measured in one run).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.layers import to_2tuple
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from edgeexport.hosts.timm_vit.plain import built_host
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.tokens.attention import attend

__all__ = [
    "TubeletEmbed",
    "attention_branch",
    "embedded_tokens",
    "logits_from_tokens",
    "mlp_branch",
    "timm_vit_from_spec",
]


class TubeletEmbed(nn.Module):
    """Patch embedding of a clip: tubelets of ``tubelet`` frames x patch, float32 (B, C, T, H, W) -> (B, n, width).

    Tokens run over time, then rows, then columns. Stands where timm's `PatchEmbed` does.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        bias: bool = True,
        *,
        frames: int = 16,
        tubelet: int = 2,
        device: Any = None,
        dtype: Any = None,
        **_ignored: object,
    ) -> None:
        super().__init__()
        self.img_size, self.patch_size = to_2tuple(img_size), to_2tuple(patch_size)
        self.grid_size = (self.img_size[0] // self.patch_size[0], self.img_size[1] // self.patch_size[1])
        self.num_patches = (frames // tubelet) * self.grid_size[0] * self.grid_size[1]
        kernel = (tubelet, *self.patch_size)
        self.proj = nn.Conv3d(in_chans, embed_dim, kernel, stride=kernel, bias=bias, device=device, dtype=dtype)

    def forward(self, clip: Tensor) -> Tensor:
        return self.proj(clip).flatten(2).transpose(1, 2)


def timm_vit_from_spec(spec: TimmVitSpec) -> VisionTransformer:
    """Builds the host in eval mode, on the CPU, with memory for its weights but no values yet."""
    arguments: dict[str, Any] = dict(spec.arguments)
    if spec.frames is not None:
        arguments["embed_layer"] = partial(TubeletEmbed, frames=spec.frames, tubelet=spec.tubelet)
    model = built_host(spec.name, arguments)  # timm's own initialisation of a ViT-L takes seconds, and is not wanted
    assert isinstance(model, VisionTransformer)
    return model.to_empty(device="cpu")


def embedded_tokens(model: VisionTransformer, pixels: Tensor) -> Tensor:
    """What enters block 1: float32 (B, N, C), prefix tokens first."""
    return model.norm_pre(model._pos_embed(model.patch_embed(pixels)))


def attention_branch(block: Any, x: Tensor, bias: Tensor | None, metric: str | None) -> tuple[Tensor, Tensor | None]:
    """Adds a block's attention to its tokens.

    Args:
        block: timm's `Block`.
        x: (B, N, C).
        bias: float32 (B, 1, 1, N), added to the logits of every key; None for none.
        metric: 'k', 'q', 'v' or 'x' (see `MergeSpec`), or None where nothing will merge.

    Returns:
        x after the attention's residual, and the similarity metric: (B, N, d), averaged over heads, or x itself.
    """
    attention = block.attn
    batch, tokens, width = x.shape
    rows = x.reshape(batch * tokens, width)
    joint = attention.qkv(block.norm1(rows)).chunk(3, dim=-1)
    heads = (batch, tokens, attention.num_heads, attention.head_dim)
    query, key, value = (part.reshape(heads).transpose(1, 2) for part in joint)
    query, key = attention.q_norm(query), attention.k_norm(key)
    mixed = attend(query, key, value, bias).reshape(batch * tokens, attention.attn_dim)
    x = (rows + block.ls1(attention.proj(attention.norm(mixed)))).reshape(batch, tokens, width)
    if metric is None:
        return x, None
    if metric == "x":
        return x, x
    return x, {"k": key, "q": query, "v": value}[metric].mean(dim=1)


def mlp_branch(block: Any, x: Tensor) -> Tensor:
    """Adds a block's MLP to its tokens."""
    rows = x.reshape(-1, x.shape[-1])
    return (rows + block.ls2(block.mlp(block.norm2(rows)))).reshape(x.shape)


def logits_from_tokens(model: VisionTransformer, x: Tensor, size: Tensor | None, pool: str) -> Tensor:
    """Final norm, pooling and classifier.

    Args:
        model: The host.
        x: (B, M, C), tokens after the last block.
        size: float32 (B, M, 1), patches that each token stands for; None: one each.
        pool: 'mean': timm's own pooling, every token counts alike. 'size_weighted': as MAE pools, the mean over the
            patches that the tokens stand for, prefix tokens left out.
    """
    x = model.norm(x)
    if pool == "mean":
        return model.forward_head(x)
    first = model.num_prefix_tokens
    patches = x[:, first:]
    share = torch.ones_like(patches[:, :, :1]) if size is None else size[:, first:]
    return model.head(model.head_drop(model.fc_norm((patches * share).sum(dim=1) / share.sum(dim=1))))
