"""timm's `VisionTransformer` and `Eva` as a walk.

The model object is timm's own and stays as it is: nothing is patched, subclassed or assigned, its modules are taken as found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import global_pool_nlc
from torch import Tensor, nn

from edgeexport.hosts.host import PublishedWalk, Walk
from edgeexport.hosts.restored import Restored
from edgeexport.hosts.timm_vit.branches import TimmBlock, attention_branches, mlp_branches
from edgeexport.hosts.timm_vit.spec import EMBEDDING, FEATURE_MAP, FEATURES, LOGITS, TimmVitSpec, tap_name
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
    """What comes after the last block: final norm, pooling and classifier, as timm's own `forward_head` has them for every way
    of pooling; and the tokens themselves, those that merged brought back.
    """

    def __init__(self, model: Any, spec: TimmVitSpec) -> None:
        super().__init__()
        self.outputs, self.grid, self.last = spec.outputs, spec.grid, spec.num_layers
        self.taps, self.tap_norm, self.taps_are_maps = spec.taps, spec.tap_norm, spec.taps_are_maps
        self.reads_last = spec.reads_last
        self.norm, self.distilled = model.norm, spec.distilled
        if LOGITS in self.outputs:  # what is not asked for has no weights either, perhaps
            self.head, self.head_dist = model.head, getattr(model, "head_dist", None)
        if {LOGITS, EMBEDDING} & {*self.outputs}:
            self.attn_pool, self.fc_norm = model.attn_pool, model.fc_norm
        self.prefix, self.pooling = model.num_prefix_tokens, model.global_pool
        self.include_prefix = _pools_prefix(model)
        self.restored = Restored()

    def forward(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        given = {tap_name(tap): self.tapped(stages[tap + 1], tap + 1, trace) for tap in self.taps}
        if self.reads_last:
            given |= self.final(self.norm(stages[self.last]), trace, pool)
        return {name: given[name] for name in self.outputs}

    def tapped(self, x: Tensor, block: int, trace: Trace) -> Tensor:
        """(B, n, C) after a block -> (B, N, C), or (B, C, h, w)."""
        tokens = self.restored(self.norm(x) if self.tap_norm else x, block, trace)
        return map_from_tokens(tokens[:, self.prefix :], self.grid) if self.taps_are_maps else tokens

    def final(self, x: Tensor, trace: Trace, pool: str) -> dict[str, Tensor]:
        """What is asked for of the last block's tokens, normalised (B, n, C)."""
        given: dict[str, Tensor] = {}
        if {LOGITS, EMBEDDING} & {*self.outputs}:
            pooled = self.pooled(x, trace, pool)
            given[EMBEDDING] = pooled.mean(dim=1) if self.distilled else pooled
            if LOGITS in self.outputs:
                given[LOGITS] = self.logits(pooled)
        if {FEATURES, FEATURE_MAP} & {*self.outputs}:
            tokens = given[FEATURES] = self.restored(x, self.last, trace)
            if FEATURE_MAP in self.outputs:
                given[FEATURE_MAP] = map_from_tokens(tokens[:, self.prefix :], self.grid)
        return given

    def pooled(self, x: Tensor, trace: Trace, pool: str) -> Tensor:
        """(B, n, C) -> (B, C); of a model with a distillation token that and the class token, (B, 2, C)."""
        if pool == "size_weighted":
            patches = x[:, self.prefix :]
            share = torch.ones_like(patches[:, :, :1]) if trace.size is None else trace.size[:, self.prefix :]
            return self.fc_norm((patches * share).sum(dim=1) / share.sum(dim=1))
        if self.distilled:
            return x[:, :2]
        if self.attn_pool is not None:
            first = 0 if self.include_prefix else self.prefix
            mask = None if trace.bias is None else trace.bias[..., first:]
            return self.fc_norm(self.attn_pool(x[:, first:], attn_mask=mask))
        return self.fc_norm(global_pool_nlc(x, self.pooling, self.prefix, reduce_include_prefix=self.include_prefix))

    def logits(self, pooled: Tensor) -> Tensor:
        """(B, C), or (B, 2, C) -> (B, K)."""
        if self.head_dist is None:
            return self.head(pooled)
        return (self.head(pooled[:, 0]) + self.head_dist(pooled[:, 1])) / 2


def map_from_tokens(patches: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, h w, C) -> (B, C, h, w)."""
    return patches.transpose(1, 2).unflatten(2, tuple(grid))


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
    """Walks a timm host; see `predict`."""

    def __init__(self, model: Any, spec: TimmVitSpec, size: InputSpec) -> None:
        super().__init__()
        self.pixels = NormalisedImage(size)
        self.embedding = _Embedding(model)
        self.blocks = nn.ModuleDict(
            {
                str(number): TimmBlock(block)
                for number, block in enumerate(model.blocks.children(), start=1)
                if number <= max(spec.reads)
            }
        )
        self.exits = nn.ModuleDict()
        self.reads = spec.reads
        self.outputs = spec.outputs
        self.classifier = _Classifier(model, spec)
        rotation = _rotation(model)
        self.turned: Tensor | None
        self.register_buffer("turned", None if rotation is None else rotation[None], persistent=False)

    @property
    def rotation(self) -> Tensor | None:
        """See `Walk.rotation`."""
        return self.turned

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the recipe asks for."""
        return self.outputs

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The normalised image, clip or spectrogram."""
        (image,) = inputs
        return self.pixels(image), None

    def embed(self, pixels: Tensor) -> Tensor:
        """What enters block 1."""
        return self.embedding(pixels)

    def predict(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        """What the recipe asks for, all float32: ``logits`` (B, K); ``embedding`` (B, C), what timm gives without a classifier;
        ``features`` (B, N, C), prefix and patch tokens after the final norm, those that merged copied back to every place that
        they came from; ``feature_map`` (B, C, h, w), the patch tokens among them; ``tap_<block>``, the same after other blocks,
        counted from 0: maps beside a ``feature_map``, tokens beside anything else.

        ``pool`` is 'mean': timm's own pooling, every token counts alike; or 'size_weighted': as MAE pools, the mean over
        the patches that the tokens stand for, prefix tokens left out.
        """
        return self.classifier(stages, trace, pool)


class PublishedTimmWalk(PublishedWalk):
    """timm's own blocks: attention runs inside timm's modules, with what is added to its logits as their attention mask."""

    def __init__(self, model: Any, spec: TimmVitSpec, size: InputSpec) -> None:
        self.model, self.spec, self.size = model, spec, size
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
        """What the recipe asks for; with ``pool`` 'size_weighted' the mean is over patches, prefix tokens left out."""
        model, spec = self.model, self.spec
        given = {tap_name(tap): self._tapped(tap, stages[tap + 1], tokens) for tap in spec.taps}
        if spec.reads_last:
            given |= self._final(model.norm(stages[spec.num_layers]), tokens, pool)
        return {name: given[name] for name in spec.outputs}

    def _tapped(self, tap: int, x: Tensor, tokens: PublishedTokens) -> Tensor:
        back = tokens.restored(tap + 1, self.model.norm(x) if self.spec.tap_norm else x)[0]
        return self._map(back) if self.spec.taps_are_maps else back

    def _map(self, tokens: Tensor) -> Tensor:
        """(N, C) -> (C, h, w)."""
        return tokens[self.model.num_prefix_tokens :].T.reshape(-1, *self.spec.grid)

    def _final(self, x: Tensor, tokens: PublishedTokens, pool: str) -> dict[str, Tensor]:
        model, outputs = self.model, self.spec.outputs
        given: dict[str, Tensor] = {}
        if FEATURES in outputs or FEATURE_MAP in outputs:
            back = tokens.restored(self.spec.num_layers, x)[0]
            given = {FEATURES: back} | ({FEATURE_MAP: self._map(back)} if FEATURE_MAP in outputs else {})
        if LOGITS not in outputs and EMBEDDING not in outputs:
            return given
        pooled = self._pooled_by_size(x, tokens, pool)
        if pooled is None:
            given[EMBEDDING] = model.forward_head(x, pre_logits=True)[0]
        else:
            given[EMBEDDING] = pooled[0]
        if LOGITS in outputs:
            given[LOGITS] = (model.forward_head(x) if pooled is None else model.head(model.head_drop(pooled)))[0]
        return given

    def _pooled_by_size(self, x: Tensor, tokens: PublishedTokens, pool: str) -> Tensor | None:
        """(1, n, C) -> (1, C) where what a token stands for weighs; None where timm's own pooling holds."""
        model, first = self.model, self.model.num_prefix_tokens
        if pool == "size_weighted":
            share = tokens.size[first:] / tokens.size[first:].sum()
            return model.fc_norm((x[:, first:] * share[None, :, None]).sum(dim=1))
        if model.attn_pool is None or tokens.bias is None:
            return None
        start = 0 if _pools_prefix(model) else first
        return model.fc_norm(model.attn_pool(x[:, start:], attn_mask=tokens.bias[..., start:]))


class _PublishedBlock:
    def __init__(self, block: Any, prefix: int) -> None:
        self.attentions, self.mlps, self.prefix = attention_branches(block), mlp_branches(block), prefix

    def __call__(
        self, x: Tensor, bias: Tensor | None, context: Tensor | None, rotation: Tensor | None = None
    ) -> Tensor:
        return self.finish(self.attend(x, bias, None, rotation)[0])

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
