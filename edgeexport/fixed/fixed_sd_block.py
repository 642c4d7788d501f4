"""A Stable Diffusion block with token merging at constant counts: the form that is exported.

Tokens are matched once, on the block's input; each residual branch then runs on merged tokens. Merging comes after the
branch's norm and weighs all tokens alike, and no attention is proportional to sizes, as in the published variant.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgeexport.fixed.merge_schedule import merge_schedule
from edgeexport.fixed.merge_trace import MergeTrace, merge_output_names
from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.ops.match_tables import MatchTables, tables_from_layout
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.merging import Decision, merge_tokens

__all__ = ["FixedSdBlock"]

_BLOCK = 1


class FixedSdBlock(nn.Module):
    """Runs an `SdBlock` as a recipe fixes it. `trace` returns everything; `forward` what the graph outputs.

    With nothing to merge it is the plain block. ``size`` and ``source`` of the trace describe the merged tokens that the
    branches see; the prediction has every token of the input.
    """

    num_shared = 0
    patch_size = 0

    def __init__(self, model: SdBlock, recipe: Recipe) -> None:
        super().__init__()
        assert isinstance(recipe.model, SdBlockSpec)
        self.model = model
        self.recipe = recipe
        self.grid = recipe.model.grid
        self.size = (recipe.input.height, recipe.input.width)
        self.prune: dict[int, int] = {}
        (step,) = merge_schedule(recipe).steps
        self.steps = (step,)
        self.merging = {step.block: step for step in self.steps if step.layout is not None}
        self.tables: MatchTables | None = None
        if step.layout is not None:
            merge = recipe.reduction.merge
            assert merge is not None and (merge.dense, merge.metric) == ("sd", "x")  # as validated
            self.tables = tables_from_layout(step.layout)

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs."""
        return ["hidden_states", "context"]

    @property
    def decisions(self) -> list[str]:
        """Names of the outputs that tell which tokens merged; none where nothing merges."""
        return merge_output_names([_BLOCK] if self.tables is not None else [])

    @property
    def output_names(self) -> list[str]:
        """Names of all graph outputs, the prediction first, in the order that `forward` returns them."""
        return [self.recipe.output, *self.decisions, *(("source", "size") if self.tables is not None else ())]

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Zeros in the shape of the latent's tokens (B, N, C) and of the text (B, t, context width)."""
        spec = self.recipe.input
        assert spec.context is not None
        return torch.zeros(spec.shape), torch.zeros(spec.batch, *spec.context)

    def forward(self, hidden_states: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """float32 (B, N, C) and (B, t, context width) -> tensors in the order of `output_names`."""
        return tuple(self.outputs_of(self.trace(hidden_states, context)).values())

    def outputs_of(self, trace: MergeTrace) -> dict[str, Tensor]:
        """A trace as name -> tensor, for every name in `output_names`."""
        assert trace.prediction is not None
        found = {self.recipe.output: trace.prediction, **trace.decisions()}
        if trace.origin is not None and trace.size is not None:
            found |= {"source": trace.origin, "size": trace.size}
        return found

    def trace(
        self, hidden_states: Tensor, context: Tensor, *, imposed: Mapping[int, Decision] | None = None
    ) -> MergeTrace:
        """One pass with every decision kept; batched, with constant shapes. ``imposed``: see `MergeTrace`."""
        trace = MergeTrace(imposed=imposed or {})
        if self.tables is None:
            trace.prediction = self.model(hidden_states, context)
            return trace
        matching = trace.matched(_BLOCK, hidden_states, self.tables)
        trace.origin = matching.position
        ones = torch.ones(hidden_states.shape[0], hidden_states.shape[1], 1)

        block, x = self.model, hidden_states
        merged, trace.size = merge_tokens(block.norm1(x), ones, matching)
        x = x + token_unmerge(block.self_branch(merged), matching.position)
        merged, _ = merge_tokens(block.norm2(x), ones, matching)
        x = x + token_unmerge(block.text_branch(merged, context), matching.position)
        merged, _ = merge_tokens(block.norm3(x), ones, matching)
        trace.prediction = x + token_unmerge(block.mlp_branch(merged), matching.position)
        return trace
