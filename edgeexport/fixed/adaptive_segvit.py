"""SegViT with DToP and CTS as published: counts depend on the image, images run one by one. The reference.

It shares weights and layers with `edgeexport.fixed.fixed_segvit`, and the pooling of shared patches and positions. What
decides and moves tokens is its own: selection by threshold with index sets, windows chosen by sorted lists, a canvas
written by indexing, the plain class-map tail. The golden tests hold both to the published implementations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.segvit.heads import AtmHead, PruneHead
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.hosts.segvit.vit import VitBlock
from edgeexport.inputs.spec import InputSpec
from edgeexport.ops.match_tables import MatchLayout
from edgeexport.recipe.schema import MergeSpec
from edgeexport.reductions.cts import SharingLayout, layout_reference, share_patches, share_positions, window_scores
from edgeexport.reductions.dtop import confidence_and_label, prune_adaptive
from edgeexport.reductions.published_merge import MergedTokens, merge_step_reference, unmerged_reference
from edgeexport.tokens.patches import patches_from_image
from edgeexport.tokens.preprocess import normalised_image

__all__ = ["AdaptiveImage", "AdaptiveSegVit", "AdaptiveStage"]


@dataclass(frozen=True)
class AdaptiveStage:
    """What a pruning stage saw of one image, before it decided.

    Attributes:
        tokens: int64 (n,), the tokens that entered it, ascending, counted as those of the first block.
        confidence: float32 (n,), each token's best class score.
        label: int32 (n,), that class.
    """

    tokens: Tensor
    confidence: Tensor
    label: Tensor


@dataclass(frozen=True)
class AdaptiveImage:
    """Result for one image; token indices count tokens of the first block.

    Attributes:
        scores: float32 (K, H, W), class scores at image size (at patch resolution where not upsampled).
        token_scores: float32 (K, n0) of the first block's tokens; None for ATMHead.
        shared_windows: int32 (S,), ascending; None without CTS.
        pruned_tokens: block -> int64 vector, ascending.
        merges: block -> what merged inside it, with dense merging.
        window_scores: float32 (W,), the policy network's l1 - l0 of every window; None without CTS.
        stages: block -> what the stage there saw, for every block that a threshold was given for.
    """

    scores: Tensor
    token_scores: Tensor | None
    shared_windows: Tensor | None
    pruned_tokens: dict[int, Tensor]
    merges: dict[int, MergedTokens] = field(default_factory=dict)
    window_scores: Tensor | None = None
    stages: dict[int, AdaptiveStage] = field(default_factory=dict)

    @property
    def class_map(self) -> Tensor:
        """int32 (H, W); equal scores: lowest class."""
        return self.scores.argmax(dim=0).to(torch.int32)


class AdaptiveSegVit:
    """Runs a `SegVit` with thresholds.

    Args:
        model: Weights.
        spec: The recipe's input form.
        num_shared: Windows to share (already aligned); 0 for none.
        protect_per_class: DToP's context tokens per class.
        merge: Dense merging, or None.
        layouts: 1-based block -> what merges inside it.
    """

    def __init__(
        self,
        model: SegVit,
        spec: InputSpec,
        *,
        num_shared: int,
        protect_per_class: int,
        merge: MergeSpec | None = None,
        layouts: Mapping[int, MatchLayout] | None = None,
    ) -> None:
        self.model, self.spec = model, spec
        self.merge, self.layouts = merge, dict(layouts or {})
        self.num_shared, self.protect_per_class = num_shared, protect_per_class
        patch = model.spec.backbone.patch_size
        self.patch_size = patch
        self.grid = (spec.height // patch, spec.width // patch)

    def published_thresholds(self) -> dict[int, float]:
        """Threshold of every auxiliary head as its config states it (block -> theta); 1 where it states none."""
        heads = self.model.spec.auxiliary_heads
        return {head.stages[0]: 1.0 if head.threshold is None else head.threshold for head in heads}

    @torch.no_grad()
    def run(
        self, image: Tensor, thresholds: Sequence[Mapping[int, float]], *, upsample: bool = True
    ) -> list[AdaptiveImage]:
        """Runs every image with its own thresholds.

        Args:
            image: In the recipe's input form, batch first.
            thresholds: Per image, block -> theta. A block that is not named is not a pruning stage.
            upsample: False leaves PruneHead scores at the resolution of the patches.
        """
        pixels = normalised_image(image, self.spec)
        return [self._one(pixels[i : i + 1], limit, upsample) for i, limit in enumerate(thresholds)]

    def _one(self, pixels: Tensor, thresholds: Mapping[int, float], upsample: bool) -> AdaptiveImage:
        backbone = self.model.backbone
        position = backbone.position_grid(*self.grid)
        layout: SharingLayout | None = None
        scores: Tensor | None = None
        if self.num_shared:
            assert self.model.policy_net is not None
            scores = window_scores(self.model.policy_net(pixels))
            layout = layout_reference(scores, self.num_shared, self.grid[1] // 2)
            x = backbone.embed(
                share_patches(pixels, layout, self.patch_size), share_positions(position, layout, self.grid)
            )
        else:
            x = backbone.embed(patches_from_image(pixels, self.patch_size), position)
        if isinstance(self.model.decode_head, AtmHead):
            image = self._finish_atm(x, layout)
        else:
            image = self._finish_prune(x, layout, thresholds, upsample)
        return image if scores is None else replace(image, window_scores=scores[0])

    def _run_block(self, number: int, block: nn.Module, x: Tensor, merges: dict[int, MergedTokens]) -> Tensor:
        if number not in self.layouts or self.merge is None:
            return block(x)
        assert isinstance(block, VitBlock)
        layout = self.layouts[number]
        ones = torch.ones(x.shape[1])
        metric = x[0]  # of the block's input for every branch: x itself changes from one to the next

        def merged(tokens: Tensor) -> MergedTokens:
            return merge_step_reference(
                tokens,
                ones,
                metric,
                kind=layout.kind,
                prefix=layout.prefix,
                r=layout.r,
                columns=layout.columns,
                window=layout.window,
            )

        merges[number] = merged(x[0])
        if self.merge.dense == "tome":
            step = merges[number]
            bias = step.size.log()[None, None, None] if self.merge.proportional_attention else None
            return unmerged_reference(block(step.x[None], bias)[0], step.groups)[None]
        for norm, branch in ((block.ln1, block.attn), (block.ln2, block.ffn)):
            step = merged(norm(x)[0])
            x = x + unmerged_reference(branch(step.x[None])[0], step.groups)[None]
        return x

    def _finish_atm(self, x: Tensor, layout: SharingLayout | None) -> AdaptiveImage:
        backbone, head = self.model.backbone, self.model.decode_head
        outputs = {}
        merges: dict[int, MergedTokens] = {}
        for number, block in enumerate(backbone.layers, start=1):
            x = self._run_block(number, block, x, merges)
            outputs[number] = backbone.patch_tokens(x, number)
        class_logits, masks = head([outputs[number] for number in head.spec.stages])
        if layout is not None:
            masks = masks[:, :, layout.source[0].long()]
        size = (self.spec.height, self.spec.width)
        scores = AtmHead.image_scores(class_logits, masks, self.grid, size)[0]
        return AdaptiveImage(scores, None, None if layout is None else layout.shared_windows[0], {}, merges)

    def _finish_prune(
        self, x: Tensor, layout: SharingLayout | None, thresholds: Mapping[int, float], upsample: bool
    ) -> AdaptiveImage:
        backbone, head = self.model.backbone, self.model.decode_head
        classes = head.spec.num_classes
        alive = torch.arange(x.shape[1])
        canvas = x.new_zeros(classes, x.shape[1])
        pruned_tokens: dict[int, Tensor] = {}
        merges: dict[int, MergedTokens] = {}
        stages: dict[int, AdaptiveStage] = {}
        for number, block in enumerate(backbone.layers, start=1):
            x = self._run_block(number, block, x, merges)
            if number in thresholds:
                class_logits, masks = self.model.auxiliary_head_after(number)(x)
                canvas[:, alive] = masks[0]
                confidence, label = confidence_and_label(PruneHead.token_scores(class_logits, masks))
                stages[number] = AdaptiveStage(alive, confidence[0], label[0])
                kept, pruned = prune_adaptive(
                    confidence[0], label[0], thresholds[number], classes, self.protect_per_class
                )
                pruned_tokens[number] = alive[pruned]
                alive, x = alive[kept], x[:, kept]
            if number == head.spec.stages[0]:
                break
        class_logits, masks = head(backbone.patch_tokens(x, head.spec.stages[0]))
        canvas[:, alive] = masks[0]
        token_scores = PruneHead.token_scores(class_logits, canvas[None])
        image_tokens = token_scores if layout is None else token_scores[:, :, layout.source[0].long()]
        scores = image_tokens.unflatten(2, self.grid)
        if upsample:
            size = (self.spec.height, self.spec.width)
            scores = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
        shared = None if layout is None else layout.shared_windows[0]
        return AdaptiveImage(scores[0], token_scores[0], shared, pruned_tokens, merges, stages=stages)
