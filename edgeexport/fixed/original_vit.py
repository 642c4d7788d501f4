"""A timm host with token merging as published: images one by one, timm's own blocks, matching in plain loops. The reference.

It shares weights with `edgeexport.fixed.fixed_merge_vit` and nothing else: attention runs inside timm's modules, with
log(size) as their attention mask, and which tokens merge is decided by `edgeexport.reductions.published_merge`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from edgeexport.inputs.spec import InputSpec
from edgeexport.ops.match_tables import MatchLayout
from edgeexport.recipe.schema import MergeSpec
from edgeexport.reductions.published_merge import MergedTokens, merge_step_reference
from edgeexport.tokens.preprocess import normalised_image

__all__ = ["OriginalImage", "OriginalVit"]


@dataclass(frozen=True)
class OriginalImage:
    """Result for one image.

    Attributes:
        logits: float32 (K,).
        size: float32 (M,), tokens of block 1 that each final token stands for.
        origin: int64 (N0,), the final token of every token of block 1.
        steps: block -> what merged there.
    """

    logits: Tensor
    size: Tensor
    origin: Tensor
    steps: dict[int, MergedTokens]


class OriginalVit:
    """Runs a timm host with merging.

    Args:
        model: The host, which stays as it is.
        spec: The recipe's input form.
        merge: Proportional attention, pooling and metric.
        layouts: 1-based block -> what may merge with what there, and how many tokens do.
    """

    def __init__(
        self, model: VisionTransformer, spec: InputSpec, merge: MergeSpec, layouts: Mapping[int, MatchLayout]
    ) -> None:
        self.model, self.spec, self.merge, self.layouts = model, spec, merge, layouts

    @torch.no_grad()
    def run(self, image: Tensor) -> list[OriginalImage]:
        """Runs a batch in the recipe's input form, image by image."""
        pixels = normalised_image(image, self.spec)
        return [self._one(pixels[i : i + 1]) for i in range(pixels.shape[0])]

    def _one(self, pixels: Tensor) -> OriginalImage:
        model = self.model
        x = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(pixels))))
        count = x.shape[1]
        size, merged_yet = torch.ones(count), False
        origin = list(range(count))
        steps: dict[int, MergedTokens] = {}
        blocks: list[Any] = list(model.blocks)
        for number, block in enumerate(blocks, start=1):
            normed = block.norm1(x)
            mask = None
            if merged_yet and self.merge.proportional_attention:
                mask = size.log()[None, None, None, :].expand(1, 1, size.numel(), -1)
            x = x + block.drop_path1(block.ls1(block.attn(normed, attn_mask=mask)))
            if number in self.layouts:
                layout = self.layouts[number]
                metric = x[0] if self.merge.metric == "x" else _metric(block, normed, self.merge.metric)
                step = merge_step_reference(
                    x[0],
                    size,
                    metric,
                    kind=layout.kind,
                    prefix=layout.prefix,
                    r=layout.r,
                    columns=layout.columns,
                    window=layout.window,
                )
                steps[number] = step
                x, size, merged_yet = step.x[None], step.size, True
                place = {token: row for row, group in enumerate(step.groups) for token in group}
                origin = [place[token] for token in origin]
            x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        x = model.norm(x)
        if self.merge.pool == "size_weighted":
            first = model.num_prefix_tokens
            share = size[first:] / size[first:].sum()
            pooled = (x[:, first:] * share[None, :, None]).sum(dim=1)
            logits = model.head(model.head_drop(model.fc_norm(pooled)))
        else:
            logits = model.forward_head(x)
        return OriginalImage(logits[0], size, torch.tensor(origin), steps)


def _metric(block: Any, normed: Tensor, name: str) -> Tensor:
    """Queries, keys or values of one image averaged over heads: (N, d)."""
    attention = block.attn
    tokens, width = normed.shape[1], attention.attn_dim
    first = {"q": 0, "k": width, "v": 2 * width}[name]
    part = attention.qkv(normed)[0, :, first : first + width].reshape(tokens, attention.num_heads, attention.head_dim)
    if name != "v":
        part = (attention.q_norm if name == "q" else attention.k_norm)(part)
    return part.mean(dim=1)
