"""SegViT as a walk: embedding, blocks, exits, and the way from the final head to class scores."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.host import ExitPrediction, TailSpec
from edgeexport.hosts.restored import Restored
from edgeexport.hosts.segmentation.vit import VitBackbone
from edgeexport.hosts.segmentation.walk import (
    BroughtBack,
    ImageScoreTail,
    PublishedSegmentationWalk,
    SegmentationWalk,
    TokenScoreTail,
    predicted,
)
from edgeexport.hosts.segvit.heads import AtmHead, PruneHead
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Trace

__all__ = ["PublishedSegVitWalk", "SegVitWalk"]


class _TokenScores(nn.Module):
    def forward(self, class_logits: Tensor, mask_logits: Tensor) -> Tensor:
        return PruneHead.token_scores(class_logits, mask_logits)


class _Exit(nn.Module):
    """An auxiliary head, and what it says of every token: the scores serve the choice alone, and count with it."""

    def __init__(self, head: PruneHead) -> None:
        super().__init__()
        self.head, self.scores = head, _TokenScores()

    def forward(self, x: Tensor) -> ExitPrediction:
        class_logits, mask_logits = self.head(x)
        return ExitPrediction(self.scores(class_logits, mask_logits), mask_logits.transpose(1, 2))


class _Reading(nn.Module):
    """What the final head reads: the final norm after the last block, merged tokens brought back, without prefix tokens."""

    def __init__(self, backbone: VitBackbone) -> None:
        super().__init__()
        self.last = backbone.spec.num_layers
        self.prefix = backbone.spec.prefix
        self.norm = backbone.ln1 if backbone.spec.final_norm else nn.Identity()
        self.restored = Restored()

    def forward(self, x: Tensor, block: int, trace: Trace) -> Tensor:
        x = self.restored(self.norm(x) if block == self.last else x, block, trace)
        return x[:, self.prefix :] if self.prefix else x


class _Tail(nn.Module):
    """Class and mask logits to class scores, and to the prediction at image size; see `SegVitWalk.predict`."""

    def __init__(self, walk: SegVitWalk) -> None:
        super().__init__()
        self.per_token, self.grid, self.size = walk.per_token, walk.grid, walk.size
        self.upsampled = TokenScoreTail(walk) if self.per_token else ImageScoreTail(walk.output, walk.window_grid)

    def forward(self, class_logits: Tensor, mask_logits: Tensor) -> dict[str, Tensor]:
        if self.per_token:
            return self.upsampled(PruneHead.token_scores(class_logits, mask_logits).unflatten(2, self.grid))
        return self.upsampled(AtmHead.image_scores(class_logits, mask_logits, self.grid, self.size))


class SegVitWalk(SegmentationWalk):
    """Walks a `SegVit`."""

    def __init__(self, model: SegVit, size: InputSpec, output: str, tail: TailSpec) -> None:
        head = model.spec.decode_head
        super().__init__(model.backbone, head.stages, size, output, head.num_classes, model.spec.slide)
        self.per_token = isinstance(model.decode_head, PruneHead)
        if output == "class_map" and self.per_token and self.window_grid is None:
            self.class_map_tail = self.class_map_tail_of(tail)
        heads = {str(head.spec.stages[0]): _Exit(head) for head in getattr(model, "auxiliary_head", [])}
        self.exits = nn.ModuleDict(heads)
        self.reading = _Reading(model.backbone)
        self.decode_head = model.decode_head
        self.brought_back = BroughtBack()
        self.tail = _Tail(self)

    def predict(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        """Final head and tail.

        ``class_map`` is int32 (B, H, W), ``scores`` float32 (B, K, H, W). Beside a class map ``class_scores`` is what it is the
        argmax of: (B, K, h, w) before upsampling (PruneHead), or (B, K, H, W) (ATMHead). ``uncertified_pixels``, int32 (B,),
        comes with the fast class-map tail.
        """
        read = [self.reading(stages[block], block, trace) for block in self.reads]
        class_logits, mask_logits = self.decode_head(read[0] if self.per_token else read)
        return self.tail(class_logits, self.brought_back(mask_logits, trace))


class PublishedSegVitWalk(PublishedSegmentationWalk):
    """The same layers image by image, with a canvas written by indexing and the plain class-map tail."""

    def __init__(self, model: SegVit, size: InputSpec, output: str) -> None:
        super().__init__(model.backbone, size, output, model.spec.slide)
        self.model = model

    def exit(self, block: int, x: Tensor) -> ExitPrediction:
        """What the auxiliary head after ``block`` says."""
        class_logits, mask_logits = self.model.auxiliary_head_after(block)(x)
        return ExitPrediction(PruneHead.token_scores(class_logits, mask_logits), mask_logits.transpose(1, 2))

    def predict(
        self, stages: dict[int, Tensor], tokens: PublishedTokens, *, pool: str, upsample: bool
    ) -> dict[str, Tensor]:
        """``scores`` float32 (K, H, W) and ``class_map`` int32 (H, W) (equal scores: lowest class), if ``upsample``; with
        PruneHead ``token_scores`` float32 (K, n0) of block 1's tokens and ``class_scores`` float32 (K, h, w).
        """
        backbone, head = self.model.backbone, self.model.decode_head
        read = [backbone.patch_tokens(tokens.restored(block, stages[block]), block) for block in head.spec.stages]
        share = tokens.share
        if isinstance(head, AtmHead):
            class_logits, masks = head(read)
            masks = masks if share is None else masks[:, :, share]
            scores = AtmHead.image_scores(class_logits, masks, self.grid, self.size)[0]
            return predicted(scores) | {"class_scores": scores}
        class_logits, masks = head(read[0])
        canvas = masks.new_zeros(head.spec.num_classes, tokens.count - backbone.spec.prefix)
        for which, left in tokens.left:
            canvas[:, which] = left.T
        canvas[:, tokens.alive if tokens.left else slice(None)] = masks[0]
        token_scores = PruneHead.token_scores(class_logits, canvas[None])
        scores = (token_scores if share is None else token_scores[:, :, share]).unflatten(2, self.grid)
        outputs = {"token_scores": token_scores[0], "class_scores": scores[0]}
        if not upsample:
            return outputs
        full = F.interpolate(scores, size=self.size, mode="bilinear", align_corners=False)[0]
        return outputs | predicted(full)
