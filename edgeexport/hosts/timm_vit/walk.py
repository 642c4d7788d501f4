"""timm's `VisionTransformer` and `Eva` as a walk.

The model object is timm's own and stays as it is: nothing is patched, subclassed or assigned, its modules are taken as found.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import global_pool_nlc
from torch import Tensor, nn

from edgeexport.hosts.host import PublishedWalk, Walk
from edgeexport.hosts.timm_vit.branches import TimmBlock, attention_branches, mlp_branches
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.preprocess import NormalisedImage, normalised_image
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Trace

__all__ = ["PublishedTimmWalk", "TimmVitWalk"]


class _Embedding(nn.Module):
    """What enters block 1: patches, prefix tokens ahead of them, positions."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.patch_embed, self.norm_pre = model.patch_embed, model.norm_pre
        self.pos_embed, self.beside_prefix = model.pos_embed, model.no_embed_class
        names = [name for name in ("cls_token", "dist_token", "reg_token") if getattr(model, name, None) is not None]
        self.prefix = tuple(names)
        for name in names:
            setattr(self, name, getattr(model, name))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed(pixels)
        if self.pos_embed is not None and self.beside_prefix:
            x = x + self.pos_embed
        if self.prefix:
            x = torch.cat([*(getattr(self, name).expand(x.shape[0], -1, -1) for name in self.prefix), x], dim=1)
        if self.pos_embed is not None and not self.beside_prefix:
            x = x + self.pos_embed
        return self.norm_pre(x)


class _Classifier(nn.Module):
    """Final norm, pooling and classifier, as timm's own `forward_head` has them for every way of pooling."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.norm, self.head, self.head_dist = model.norm, model.head, getattr(model, "head_dist", None)
        self.attn_pool, self.fc_norm = model.attn_pool, model.fc_norm
        self.prefix, self.pooling = model.num_prefix_tokens, model.global_pool
        self.include_prefix = _pools_prefix(model)

    def forward(self, x: Tensor, size: Tensor | None, bias: Tensor | None, pool: str) -> Tensor:
        x = self.norm(x)
        if pool == "size_weighted":
            patches = x[:, self.prefix :]
            share = torch.ones_like(patches[:, :, :1]) if size is None else size[:, self.prefix :]
            return self.head(self.fc_norm((patches * share).sum(dim=1) / share.sum(dim=1)))
        if self.head_dist is not None:
            return (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        if self.attn_pool is not None:
            first = 0 if self.include_prefix else self.prefix
            mask = None if bias is None else bias[..., first:]
            return self.head(self.fc_norm(self.attn_pool(x[:, first:], attn_mask=mask)))
        pooled = global_pool_nlc(x, self.pooling, self.prefix, reduce_include_prefix=self.include_prefix)
        return self.head(self.fc_norm(pooled))


def _pools_prefix(model: Any) -> bool:
    """Whether prefix tokens are pooled as well; Eva pools them by attention and leaves them out of means."""
    return bool(getattr(model, "pool_include_prefix", model.attn_pool is not None))


def _rotation(model: Any) -> Tensor | None:
    """(N, 2 d): sine and cosine of the angles by which queries and keys of every token are turned; prefix tokens are not."""
    rope = getattr(model, "rope", None)
    if rope is None:
        return None
    patches = rope.get_embed(shape=model.patch_embed.grid_size)
    angles = patches.shape[-1] // 2
    still = torch.cat(
        [torch.zeros(model.num_prefix_tokens, angles), torch.ones(model.num_prefix_tokens, angles)], dim=1
    )
    return torch.cat([still, patches])


class TimmVitWalk(Walk):
    """Walks a timm host; ``predict`` gives ``logits``, float32 (B, K)."""

    def __init__(self, model: Any, size: InputSpec) -> None:
        super().__init__()
        self.pixels = NormalisedImage(size)
        self.embedding = _Embedding(model)
        self.blocks = nn.ModuleDict(
            {str(number): TimmBlock(block) for number, block in enumerate(model.blocks.children(), start=1)}
        )
        self.exits = nn.ModuleDict()
        self.reads = (len(self.blocks),)
        self.classifier = _Classifier(model)
        rotation = _rotation(model)
        self.turned: Tensor | None
        self.register_buffer("turned", None if rotation is None else rotation[None], persistent=False)

    @property
    def rotation(self) -> Tensor | None:
        """See `Walk.rotation`."""
        return self.turned

    @property
    def output_names(self) -> tuple[str, ...]:
        """The logits."""
        return ("logits",)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The normalised image, clip or spectrogram."""
        (image,) = inputs
        return self.pixels(image), None

    def embed(self, pixels: Tensor) -> Tensor:
        """What enters block 1."""
        return self.embedding(pixels)

    def predict(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        """The logits.

        ``pool`` is 'mean': timm's own pooling, every token counts alike; or 'size_weighted': as MAE pools, the mean over
        the patches that the tokens stand for, prefix tokens left out.
        """
        return {"logits": self.classifier(stages[self.reads[0]], trace.size, trace.bias, pool)}


class PublishedTimmWalk(PublishedWalk):
    """timm's own blocks: attention runs inside timm's modules, with what is added to its logits as their attention mask."""

    def __init__(self, model: Any, size: InputSpec) -> None:
        self.model, self.size = model, size
        self.rotation = _rotation(model)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The normalised image, clip or spectrogram."""
        (image,) = inputs
        return normalised_image(image, self.size), None

    def embed(self, pixels: Tensor) -> Tensor:
        """By timm's own methods."""
        model = self.model
        embedded = model._pos_embed(model.patch_embed(pixels))
        return model.norm_pre(embedded[0] if isinstance(embedded, tuple) else embedded)

    def block(self, number: int) -> _PublishedBlock:
        """timm's own block."""
        return _PublishedBlock(self.model.blocks[number - 1], self.model.num_prefix_tokens)

    def predict(
        self, stages: dict[int, Tensor], tokens: PublishedTokens, *, pool: str, upsample: bool
    ) -> dict[str, Tensor]:
        """The logits; with ``pool`` 'size_weighted' the mean is over patches, prefix tokens left out."""
        model = self.model
        x = model.norm(stages[len(model.blocks)])
        first = model.num_prefix_tokens
        if pool == "mean" and model.attn_pool is not None and tokens.bias is not None:
            start = 0 if _pools_prefix(model) else first
            pooled = model.attn_pool(x[:, start:], attn_mask=tokens.bias[..., start:])
            return {"logits": model.head(model.fc_norm(pooled))[0]}
        if pool == "mean":
            return {"logits": model.forward_head(x)[0]}
        share = tokens.size[first:] / tokens.size[first:].sum()
        pooled = (x[:, first:] * share[None, :, None]).sum(dim=1)
        return {"logits": model.head(model.head_drop(model.fc_norm(pooled)))[0]}


class _PublishedBlock:
    def __init__(self, block: Any, prefix: int) -> None:
        self.attentions, self.mlps, self.prefix = attention_branches(block), mlp_branches(block), prefix

    def attend(
        self, x: Tensor, bias: Tensor | None, metric: str | None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        mask = None if bias is None else bias.expand(1, 1, bias.shape[-1], -1)
        turned = {} if rotation is None else {"rope": rotation[self.prefix :]}
        given = x
        for norm, attention, after in self.attentions:
            x = x + after(attention(norm(given), attn_mask=mask, **turned))
        if metric is None or metric == "x":
            return x, None if metric is None else x
        compared = [self._metric(norm(given), attention, metric) for norm, attention, _ in self.attentions]
        return x, torch.cat(compared, dim=1).mean(dim=1)[None]

    def finish(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        given = x
        for norm, mlp, after in self.mlps:
            x = x + after(mlp(norm(given)))
        return x

    @staticmethod
    def _metric(normed: Tensor, attention: Any, name: str) -> Tensor:
        """Queries, keys or values of every head: (n, h, d)."""
        if attention.qkv is None:
            part = getattr(attention, f"{name}_proj")(normed)[0]
        else:
            width = attention.num_heads * attention.head_dim
            first = {"q": 0, "k": width, "v": 2 * width}[name]
            part = attention.qkv(normed)[0, :, first : first + width]
            bias = getattr(attention, f"{name}_bias", None)
            part = part if bias is None else part + bias
        part = part.reshape(normed.shape[1], -1, attention.head_dim)
        return part if name == "v" else (attention.q_norm if name == "q" else attention.k_norm)(part)
