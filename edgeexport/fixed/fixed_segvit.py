"""SegViT with constant token counts: the form that is exported.

Every stage's shape is known when the recipe is read: S shared windows, k pruned tokens after a block. A stage with
count 0, and its auxiliary head, do not exist in this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.fixed.merge_schedule import merge_schedule
from edgeexport.fixed.merge_trace import MergeTrace, merge_output_names
from edgeexport.fixed.schedule import token_schedule
from edgeexport.hosts.segvit.heads import AtmHead, PruneHead
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.hosts.segvit.vit import VitBlock
from edgeexport.ops.match_tables import tables_from_layout
from edgeexport.ops.token_partition import token_partition
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.ops.upsample_argmax import upsample_argmax
from edgeexport.recipe.schema import MergeSpec, Recipe
from edgeexport.reductions.cts import SharingLayout, layout_fixed, share_patches, share_positions, window_scores
from edgeexport.reductions.dense_merge import block_with_merging
from edgeexport.reductions.dtop import confidence_and_label, inverse_permutation, priority, prune_fixed
from edgeexport.reductions.merging import Decision
from edgeexport.tokens.patches import patches_from_image
from edgeexport.tokens.preprocess import normalised_image

__all__ = ["FixedSegVit", "SegVitTrace"]


@dataclass
class SegVitTrace:
    """What a forward pass decided, beside its prediction; token indices count tokens of the first block.

    Attributes:
        prediction: class map int32 (B, H, W) or scores float32 (B, K, H, W).
        class_scores: float32, what a class map is the argmax of: (B, K, h, w) before upsampling (PruneHead) or
            (B, K, H, W) (ATMHead).
        token_scores: float32 (B, K, n0), scores of the first block's tokens (PruneHead models only).
        policy_logits: float32 (B, 2, H/32, W/32), with CTS.
        shared_windows: int32 (B, S), with CTS.
        pruned_tokens: block -> int32 (B, k), ascending.
        smallest_pruned_confidence: block -> float32 (B,).
        protected_pruned: block -> int32 (B,), how many protected tokens had to leave because k asked for more.
        stage_scores: block -> (B, K, n), class scores of the tokens that entered that stage.
        stage_confidence, stage_label, stage_priority, stage_tokens: block -> (B, n), for the tokens that entered that
            stage: confidence, predicted class, pruning key, and index among the first block's tokens.
        uncertified_pixels: int32 (B,), with the fast class-map tail.
        merge: What merged in each block, with dense merging.
        selections: ``shared_windows`` or ``pruned_tokens_<block>`` -> int32 (B, k), to be carried out instead of the model's
            own choice, which is kept all the same: how an execution that decided a near tie differently is followed.
    """

    prediction: Tensor | None = None
    class_scores: Tensor | None = None
    token_scores: Tensor | None = None
    policy_logits: Tensor | None = None
    shared_windows: Tensor | None = None
    pruned_tokens: dict[int, Tensor] = field(default_factory=dict)
    smallest_pruned_confidence: dict[int, Tensor] = field(default_factory=dict)
    protected_pruned: dict[int, Tensor] = field(default_factory=dict)
    stage_confidence: dict[int, Tensor] = field(default_factory=dict)
    stage_label: dict[int, Tensor] = field(default_factory=dict)
    stage_scores: dict[int, Tensor] = field(default_factory=dict)
    stage_priority: dict[int, Tensor] = field(default_factory=dict)
    stage_tokens: dict[int, Tensor] = field(default_factory=dict)
    uncertified_pixels: Tensor | None = None
    merge: MergeTrace = field(default_factory=MergeTrace)
    selections: Mapping[str, Tensor] = field(default_factory=dict)


class FixedSegVit(nn.Module):
    """Runs a `SegVit` as a recipe fixes it. `trace` returns everything; `forward` what the graph outputs."""

    def __init__(self, model: SegVit, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        patch = model.spec.backbone.patch_size
        self.patch_size = patch
        self.grid = (recipe.input.height // patch, recipe.input.width // patch)
        self.size = (recipe.input.height, recipe.input.width)
        self.num_patches = self.grid[0] * self.grid[1]
        merge = recipe.reduction.merge
        self.merge = merge or MergeSpec("tome", ())
        self.steps = merge_schedule(recipe).steps if merge is not None else ()
        self.merging = {step.block: step for step in self.steps if step.layout is not None}
        schedule = token_schedule(recipe)
        self.num_shared = schedule.num_shared
        self.prune = {head.blocks[0]: head.pruned for head in schedule.heads if head.pruned}
        dtop = recipe.reduction.dtop
        self.protect_per_class = dtop.protect_per_class if dtop is not None else 0
        with torch.no_grad():
            position = model.backbone.position_grid(*self.grid).clone()
        self.position: Tensor
        self.register_buffer("position", position, persistent=False)

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs."""
        return ["image"]

    @property
    def output_names(self) -> list[str]:
        """Names of all graph outputs, the prediction first, in the order that `forward` returns them."""
        return [name for name, _ in self._named_outputs(None)]

    @property
    def decisions(self) -> list[str]:
        """Names of the outputs that tell which tokens were shared, pruned or merged, in order of depth."""
        shared = ["shared_windows"] if self.num_shared else []
        return [*shared, *(f"pruned_tokens_{block}" for block in self.prune), *merge_output_names(list(self.merging))]

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Zeros in the recipe's input form and shape."""
        spec = self.recipe.input
        return (torch.zeros(spec.shape, dtype=torch.float32 if spec.preprocess is None else torch.uint8),)

    @property
    def has_fast_tail(self) -> bool:
        """Whether the class map comes from UpsampleArgmax with candidates (PruneHead models only)."""
        return (
            self.recipe.output == "class_map"
            and self.recipe.tail.form == "fast"
            and isinstance(self.model.decode_head, PruneHead)
        )

    @property
    def candidates(self) -> int:
        """Classes that UpsampleArgmax blends per cell: the recipe's, or all where that is no slower, and exact.

        In ONNX Runtime, 80 of 150 candidates took as long as the plain form, so more than half of the classes are all.
        """
        classes = self.model.spec.decode_head.num_classes
        asked = self.recipe.tail.candidates if self.has_fast_tail else classes
        return asked if 2 * asked <= classes else classes

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Image in the recipe's input form -> tensors in the order of `output_names`."""
        return tuple(tensor for _, tensor in self._named_outputs(self.trace(image)) if tensor is not None)

    def outputs_of(self, trace: SegVitTrace) -> dict[str, Tensor]:
        """A trace as name -> tensor, for every name in `output_names`."""
        return {name: tensor for name, tensor in self._named_outputs(trace) if tensor is not None}

    def _named_outputs(self, trace: SegVitTrace | None) -> list[tuple[str, Tensor | None]]:
        found = trace or SegVitTrace()
        pairs: list[tuple[str, Tensor | None]] = [(self.recipe.output, found.prediction)]
        if self.recipe.output == "class_map":
            pairs.append(("class_scores", found.class_scores))
        if self.num_shared:
            pairs.append(("shared_windows", found.shared_windows))
        for block in self.prune:
            pairs.append((f"pruned_tokens_{block}", found.pruned_tokens.get(block)))
            pairs.append((f"smallest_pruned_confidence_{block}", found.smallest_pruned_confidence.get(block)))
            pairs.append((f"protected_pruned_{block}", found.protected_pruned.get(block)))
        merged = found.merge.decisions()
        pairs += [(name, merged.get(name)) for name in merge_output_names(list(self.merging))]
        if self.has_fast_tail:
            pairs.append(("uncertified_pixels", found.uncertified_pixels))
        return pairs

    def trace(
        self,
        image: Tensor,
        *,
        imposed: Mapping[int, Decision] | None = None,
        selections: Mapping[str, Tensor] | None = None,
    ) -> SegVitTrace:
        """One pass with every decision kept; batched, with constant shapes.

        Args:
            image: In the recipe's input form.
            imposed: Merges to carry out instead of the model's own, see `MergeTrace`.
            selections: Selections likewise, see `SegVitTrace`.
        """
        trace = SegVitTrace(merge=MergeTrace(imposed=imposed or {}), selections=selections or {})
        pixels = normalised_image(image, self.recipe.input)
        x, layout = self._embed(pixels, trace)
        if isinstance(self.model.decode_head, AtmHead):
            return self._finish_atm(x, layout, trace)
        return self._finish_prune(x, layout, trace)

    def _embed(self, pixels: Tensor, trace: SegVitTrace) -> tuple[Tensor, SharingLayout | None]:
        backbone = self.model.backbone
        if not self.num_shared:
            return backbone.embed(patches_from_image(pixels, self.patch_size), self.position), None
        assert self.model.policy_net is not None
        trace.policy_logits = self.model.policy_net(pixels)
        columns = self.grid[1] // 2
        layout = layout_fixed(window_scores(trace.policy_logits), self.num_shared, columns)
        trace.shared_windows = layout.shared_windows
        if "shared_windows" in trace.selections:
            every = torch.arange(self.num_patches // 4)[None].expand(pixels.shape[0], -1)
            layout = layout_fixed(_chosen(every, trace.selections["shared_windows"]), self.num_shared, columns)
        patches = share_patches(pixels, layout, self.patch_size)
        return backbone.embed(patches, share_positions(self.position, layout, self.grid)), layout

    def _run_block(self, number: int, block: nn.Module, x: Tensor, trace: SegVitTrace) -> Tensor:
        step = self.merging.get(number)
        if step is None or step.layout is None:
            return block(x)
        assert isinstance(block, VitBlock)
        matching = trace.merge.matched(number, x, tables_from_layout(step.layout))
        return block_with_merging(block, x, matching, self.merge.dense or "tome", self.merge.proportional_attention)

    def _finish_atm(self, x: Tensor, layout: SharingLayout | None, trace: SegVitTrace) -> SegVitTrace:
        backbone, head = self.model.backbone, self.model.decode_head
        stages: dict[int, Tensor] = {}
        for number, block in enumerate(backbone.layers, start=1):
            x = self._run_block(number, block, x, trace)
            if number in head.spec.stages:
                stages[number] = backbone.patch_tokens(x, number)
        class_logits, mask_logits = head([stages[number] for number in head.spec.stages])
        if layout is not None:
            mask_logits = token_unmerge(mask_logits.transpose(1, 2), layout.source).transpose(1, 2)
        scores = AtmHead.image_scores(class_logits, mask_logits, self.grid, self.size)
        trace.class_scores = scores
        trace.prediction = scores.argmax(dim=1).to(torch.int32) if self.recipe.output == "class_map" else scores
        return trace

    def _finish_prune(self, x: Tensor, layout: SharingLayout | None, trace: SegVitTrace) -> SegVitTrace:
        backbone, head = self.model.backbone, self.model.decode_head
        batch = x.shape[0]
        masks: list[Tensor] = []  # mask logits (B, K, n) of the tokens that left, stage by stage
        left: list[Tensor] = []  # their indices among the first block's tokens, int32 (B, k)
        alive: Tensor | None = None  # indices of the tokens still present; None while all are
        for number, block in enumerate(backbone.layers, start=1):
            x = self._run_block(number, block, x, trace)
            k = self.prune.get(number, 0)
            if k:
                if alive is None:
                    alive = torch.arange(x.shape[1], dtype=torch.int32)[None].expand(batch, -1)
                kept, pruned, gone, mask = self._prune_stage(number, k, x, alive, trace)
                masks.append(token_unmerge(mask.transpose(1, 2), pruned))
                left.append(gone)
                alive = token_unmerge(alive[:, :, None], kept)[:, :, 0]
                x = token_unmerge(x, kept)
            if number == head.spec.stages[0]:
                break
        class_logits, mask_logits = head(backbone.patch_tokens(x, head.spec.stages[0]))
        rows = mask_logits.transpose(1, 2)
        source = layout.source if layout is not None else None
        if alive is not None:
            canvas = inverse_permutation(torch.cat([*left, alive], dim=1))
            rows = torch.cat([*masks, rows], dim=1)
            trace.token_scores = PruneHead.token_scores(class_logits, token_unmerge(rows, canvas).transpose(1, 2))
            source = canvas if source is None else token_unmerge(canvas[:, :, None], source)[:, :, 0]
        else:
            trace.token_scores = PruneHead.token_scores(class_logits, mask_logits)
        if source is not None:
            rows = token_unmerge(rows, source)
        scores = PruneHead.token_scores(class_logits, rows.transpose(1, 2)).unflatten(2, self.grid)
        self._predict(scores, trace)
        return trace

    def _prune_stage(
        self, number: int, k: int, x: Tensor, alive: Tensor, trace: SegVitTrace
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What stays and what leaves, by place among ``alive``; what leaves, by index; mask logits (B, K, n)."""
        head = self.model.auxiliary_head_after(number)
        class_logits, mask_logits = head(x)
        trace.stage_scores[number] = PruneHead.token_scores(class_logits, mask_logits)
        confidence, label = confidence_and_label(trace.stage_scores[number])
        kept, pruned, protected = prune_fixed(
            confidence, label, k, self.model.decode_head.spec.num_classes, self.protect_per_class
        )
        trace.stage_confidence[number], trace.stage_label[number] = confidence, label
        trace.stage_priority[number], trace.stage_tokens[number] = priority(confidence, protected), alive
        gone = trace.pruned_tokens[number] = token_unmerge(alive[:, :, None], pruned)[:, :, 0]
        name = f"pruned_tokens_{number}"
        if name in trace.selections:
            kept, pruned = token_partition(_chosen(alive, trace.selections[name]), k)
            gone = token_unmerge(alive[:, :, None], pruned)[:, :, 0]
        pruned_confidence = token_unmerge(confidence[:, :, None], pruned)[:, :, 0]
        trace.smallest_pruned_confidence[number] = pruned_confidence.amin(dim=1)
        pruned_protected = token_unmerge(protected[:, :, None].to(torch.float32), pruned)[:, :, 0]
        trace.protected_pruned[number] = pruned_protected.sum(dim=1).to(torch.int32)
        return kept, pruned, gone, mask_logits

    def _predict(self, scores: Tensor, trace: SegVitTrace) -> None:
        trace.class_scores = scores
        if self.recipe.output == "scores":
            trace.prediction = F.interpolate(scores, size=self.size, mode="bilinear", align_corners=False)
        else:
            trace.prediction, trace.uncertified_pixels = upsample_argmax(scores, *self.size, self.candidates)


def _chosen(tokens: Tensor, selection: Tensor) -> Tensor:
    """Scores by which exactly the selected of ``tokens`` (B, n) are taken: float32 (B, n), 1 for those, else 0."""
    return (tokens[:, :, None] == selection[:, None, :]).any(dim=2).to(torch.float32)
