"""A timm Vision Transformer with token merging at constant counts: the form that is exported."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from edgeexport.fixed.merge_schedule import merge_schedule
from edgeexport.fixed.merge_trace import MergeTrace, merge_output_names
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.hosts.timm_vit.steps import attention_branch, embedded_tokens, logits_from_tokens, mlp_branch
from edgeexport.ops.match_tables import tables_from_layout
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.recipe.schema import MergeSpec, Recipe
from edgeexport.reductions.merging import Decision, merge_tokens, size_bias
from edgeexport.tokens.preprocess import normalised_image

__all__ = ["FixedMergeVit"]


class FixedMergeVit(nn.Module):
    """Runs a timm host as a recipe fixes it. `trace` returns everything; `forward` what the graph outputs.

    A block that merges nothing computes what timm's own computes.
    """

    num_shared = 0

    def __init__(self, model: VisionTransformer, recipe: Recipe) -> None:
        super().__init__()
        assert isinstance(recipe.model, TimmVitSpec)
        self.model = model
        self.recipe = recipe
        self.spec = recipe.model
        self.grid = (self.spec.grid[-2], self.spec.grid[-1])
        self.patch_size = self.spec.patch_size
        self.size = (recipe.input.height, recipe.input.width)
        self.prune: dict[int, int] = {}
        self.merge = recipe.reduction.merge or MergeSpec("tome", (0,) * self.spec.num_layers)
        self.steps = merge_schedule(recipe).steps
        self.merging = {step.block: step for step in self.steps if step.layout is not None}

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs."""
        return ["image"]

    @property
    def decisions(self) -> list[str]:
        """Names of the outputs that tell which tokens merged, in order of depth."""
        return merge_output_names(list(self.merging))

    @property
    def output_names(self) -> list[str]:
        """Names of all graph outputs, the prediction first, in the order that `forward` returns them."""
        return [self.recipe.output, *self.decisions, *(("source", "size") if self.merging else ())]

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Zeros in the recipe's input form and shape."""
        spec = self.recipe.input
        return (torch.zeros(spec.shape, dtype=torch.float32 if spec.preprocess is None else torch.uint8),)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Image in the recipe's input form -> tensors in the order of `output_names`."""
        return tuple(self.outputs_of(self.trace(image)).values())

    def outputs_of(self, trace: MergeTrace) -> dict[str, Tensor]:
        """A trace as name -> tensor, for every name in `output_names`."""
        assert trace.prediction is not None
        found = {self.recipe.output: trace.prediction, **trace.decisions()}
        if trace.origin is not None and trace.size is not None:
            found |= {"source": trace.origin, "size": trace.size}
        return found

    def trace(self, image: Tensor, *, imposed: Mapping[int, Decision] | None = None) -> MergeTrace:
        """One pass with every decision kept; batched, with constant shapes. ``imposed``: see `MergeTrace`."""
        trace = MergeTrace(imposed=imposed or {})
        x = embedded_tokens(self.model, normalised_image(image, self.recipe.input))
        size: Tensor | None = None  # None while every token stands for itself
        for step, block in zip(self.steps, self.model.blocks, strict=True):
            bias = size_bias(size) if size is not None and self.merge.proportional_attention else None
            x, metric = attention_branch(block, x, bias, self.merge.metric if step.layout is not None else None)
            if step.layout is not None and metric is not None:
                matching = trace.matched(step.block, metric, tables_from_layout(step.layout), raster=step.raster)
                if size is None:
                    size = torch.ones(x.shape[0], x.shape[1], 1)
                x, size = merge_tokens(x, size, matching)
                trace.origin = (
                    matching.position
                    if trace.origin is None
                    else token_unmerge(matching.position[:, :, None], trace.origin)[:, :, 0]
                )
            x = mlp_branch(block, x)
        trace.size = size
        trace.prediction = logits_from_tokens(self.model, x, size, self.merge.pool)
        return trace
