"""Segmenter as a walk. The decoder reads tokens as they are, shared or merged; only its masks are handed back to patches.

Handing back features ahead of the decoder would weigh a shared token by its patches there, and undo the saving.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.segmentation.vit import VitBackbone
from edgeexport.hosts.segmentation.walk import (
    BroughtBack,
    PublishedSegmentationWalk,
    SegmentationWalk,
    TokenScoreTail,
    predicted,
)
from edgeexport.hosts.segmenter.segmenter import Segmenter
from edgeexport.inputs.spec import InputSpec
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Trace

__all__ = ["PublishedSegmenterWalk", "SegmenterWalk"]


class _Reading(nn.Module):
    """What the decoder reads: the final norm after the last block, without prefix tokens."""

    def __init__(self, backbone: VitBackbone, block: int) -> None:
        super().__init__()
        self.prefix = backbone.spec.prefix
        normed = backbone.spec.final_norm and block == backbone.spec.num_layers
        self.norm = backbone.ln1 if normed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return x[:, self.prefix :] if self.prefix else x


class _Restored(nn.Module):
    """Masks (B, K, n) of merged tokens -> (B, K, n0), each at every place of block 1 that it came from."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix

    def forward(self, masks: Tensor, block: int, trace: Trace) -> Tensor:
        origin = trace.origins.get(block)
        if origin is None:
            return masks
        places = origin[:, self.prefix :] - self.prefix if self.prefix else origin
        return token_unmerge(masks.transpose(1, 2), places).transpose(1, 2)


class _Tail(nn.Module):
    def __init__(self, walk: SegmenterWalk) -> None:
        super().__init__()
        self.grid, self.upsampled = walk.grid, TokenScoreTail(walk)

    def forward(self, masks: Tensor) -> dict[str, Tensor]:
        return self.upsampled(masks.unflatten(2, self.grid))


class SegmenterWalk(SegmentationWalk):
    """Walks a `Segmenter`."""

    def __init__(self, model: Segmenter, size: InputSpec, output: str, tail: TailSpec) -> None:
        head = model.spec.decode_head
        super().__init__(model.backbone, head.stages, size, output, head.num_classes, model.spec.slide)
        if output == "class_map" and self.window_grid is None:
            self.class_map_tail = self.class_map_tail_of(tail)
        self.reading = _Reading(model.backbone, head.stages[0])
        self.decode_head = model.decode_head
        self.restored = _Restored(model.backbone.spec.prefix)
        self.brought_back = BroughtBack()
        self.tail = _Tail(self)

    def predict(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        """Decoder and tail.

        ``class_map`` is int32 (B, H, W), ``scores`` float32 (B, K, H, W): class logits, as mmsegmentation has them. Beside a
        class map ``class_scores`` (B, K, h, w) is what it is the argmax of, before upsampling. ``uncertified_pixels``, int32
        (B,), comes with the fast class-map tail.
        """
        (block,) = self.reads
        masks = self.decode_head(self.reading(stages[block])).transpose(1, 2)
        return self.tail(self.brought_back(self.restored(masks, block, trace), trace))


class PublishedSegmenterWalk(PublishedSegmentationWalk):
    """The same layers image by image, masks handed back by plain lists, and the plain class-map tail."""

    def __init__(self, model: Segmenter, size: InputSpec, output: str) -> None:
        super().__init__(model.backbone, size, output, model.spec.slide)
        self.model = model

    def predict(
        self, stages: dict[int, Tensor], tokens: PublishedTokens, *, pool: str, upsample: bool
    ) -> dict[str, Tensor]:
        """``class_scores`` float32 (K, h, w); if ``upsample`` also ``scores`` (K, H, W) and ``class_map`` int32 (H, W)."""
        (block,) = self.model.spec.decode_head.stages
        masks = self.model.decode_head(self.backbone.patch_tokens(stages[block], block))[0]
        if (places := tokens.origins.get(block)) is not None:
            prefix = self.backbone.spec.prefix
            masks = masks[[place - prefix for place in places[prefix:]]]
        if tokens.share is not None:
            masks = masks[tokens.share.tolist()]
        scores = masks.T.unflatten(1, self.grid)
        if not upsample:
            return {"class_scores": scores}
        full = F.interpolate(scores[None], size=self.size, mode="bilinear", align_corners=False)[0]
        return {"class_scores": scores} | predicted(full)
