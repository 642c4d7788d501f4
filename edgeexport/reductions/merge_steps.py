"""Merging as modules without parameters: what is exported for ToMe, DSM and whatever else merges tokens.

- `MergeBetween`: between attention and MLP, for good;
- `MergeAround`: the whole block runs on the merged tokens, attention weighted by their sizes; what leaves it is the merged
  tokens' output, copied. Tokens of a group are equal from then on, as the published form has it;
- `MergeBranches`: each residual branch runs on merged tokens behind its norm, and its output is copied and added to the tokens
  as they were; merging weighs all tokens alike.

The latter two match once, on the block's input (semantics: ToMe for dense tasks, and "Token Merging for Fast Stable Diffusion",
section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexport.ops.match_tables import MatchTables, tables_from_layout
from edgeexport.ops.token_match import best_and_gap, token_match
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.reductions.merge_spec import MergeChange, MergeSpec
from edgeexport.reductions.merging import (
    Decision,
    Matching,
    matching_from_decision,
    merge_rotation,
    merge_tokens,
    size_bias,
)
from edgeexport.tokens.block import Block
from edgeexport.tokens.changes import Cut
from edgeexport.tokens.trace import Trace

__all__ = ["MatchBySimilarity", "MergeAround", "MergeBetween", "MergeBranches", "MergeEvidence", "merge_output_names"]

_KINDS = ("source", "target", "kept")


@dataclass(frozen=True)
class MergeEvidence:
    """float32 (B, N) each: how far each candidate's best similarity lies above its window's cut; its lead over the second."""

    best: Tensor
    gap: Tensor

    def scores(self, near_tie: float) -> NDArray:
        """``best``."""
        return self.best.numpy()

    def gaps(self) -> NDArray:
        """``gap``."""
        return self.gap.numpy()


class MatchBySimilarity(nn.Module):
    """Matches the most similar tokens.

    ``metric`` (B, n, D), or of every head (B, h, n, d), of which the mean is taken -> `Decision`.
    """

    def __init__(self, tables: MatchTables) -> None:
        super().__init__()
        self.tables = tables

    def forward(self, metric: Tensor) -> tuple[Decision, Tensor]:
        metric = metric.mean(dim=1) if metric.ndim == 4 else metric
        return token_match(metric, self.tables), metric

    def evidence(self, metric: Tensor) -> MergeEvidence:
        """What lies behind the decision; ``metric`` as `forward` returned it."""
        return MergeEvidence(*best_and_gap(metric, self.tables))


class _Step(nn.Module):
    """Matches, keeps the decision, and says where every token goes."""

    def __init__(self, spec: MergeSpec, change: MergeChange, match: nn.Module | None = None) -> None:
        super().__init__()
        assert change.layout is not None
        self.metric, self.proportional = spec.metric, spec.proportional_attention
        self.block, self.raster, self.rope = change.block, change.raster, spec.rope or "destination"
        self.tables = tables_from_layout(change.layout)
        self.match = MatchBySimilarity(self.tables) if match is None else match
        self.merge, self.unmerge = _Merge(), _Unmerge()

    def matched(self, metric: Tensor, trace: Trace) -> Matching:
        """Decides; where a decision is imposed, the own one is told all the same, and the imposed one is carried out."""
        decision, compared = self.match(metric)
        names = merge_output_names(self.block)
        trace.outputs.update(zip(names, decision, strict=True))
        if isinstance(self.match, MatchBySimilarity) and not torch.onnx.is_in_onnx_export():
            trace.keep(f"merges_{self.block}", self.match.evidence(compared))
        if names[0] in trace.imposed:
            source, target, kept = (trace.imposed[name] for name in names)
            decision = (source, target, kept)
        return matching_from_decision(decision, self.tables, raster=self.raster)


class MergeBetween(_Step):
    """(B, n, C) after the attention -> (B, m, C)."""

    def forward(self, x: Tensor, metric: Tensor, trace: Trace) -> Tensor:
        matching = self.matched(metric, trace)
        size = torch.ones(x.shape[0], x.shape[1], 1) if trace.size is None else trace.size
        if trace.rotation is not None:
            trace.rotation = merge_rotation(trace.rotation.expand(x.shape[0], -1, -1), size, matching, self.rope)
        x, trace.size = self.merge(x, size, matching)
        trace.bias = size_bias(trace.size) if self.proportional else None
        trace.origin = (
            matching.position
            if trace.origin is None
            else token_unmerge(matching.position[:, :, None], trace.origin)[:, :, 0]
        )
        trace.outputs |= {"source": trace.origin, "size": trace.size}
        return x


class MergeAround(_Step):
    """(B, n, C) -> (B, n, C), through the block on fewer tokens."""

    def forward(self, x: Tensor, block: Block, context: Tensor | None, trace: Trace) -> Tensor:
        matching = self.matched(x, trace)
        ones = torch.ones(x.shape[0], x.shape[1], 1)
        merged, size = self.merge(x, ones, matching)
        rotation = trace.rotation
        if rotation is not None:
            rotation = merge_rotation(rotation.expand(x.shape[0], -1, -1), ones, matching, self.rope)
        merged = block(merged, size_bias(size) if self.proportional else None, context, rotation)
        return self.unmerge(merged, matching)


class MergeBranches(_Step):
    """(B, n, C) -> (B, n, C), every branch of the block on fewer tokens."""

    def __init__(
        self, spec: MergeSpec, change: MergeChange, *, described: bool, match: nn.Module | None = None
    ) -> None:
        super().__init__(spec, change, match)
        self.described = described

    def forward(self, x: Tensor, block: Block, context: Tensor | None, trace: Trace) -> Tensor:
        matching = self.matched(x, trace)
        ones = torch.ones(x.shape[0], x.shape[1], 1)
        for residual in block.residuals:
            merged, size = self.merge(residual.norm(x), ones, matching)
            x = x + self.unmerge(residual.added(merged, None, context), matching)
        if self.described:  # the merged tokens that the branches saw
            trace.outputs |= {"source": matching.position, "size": size}
        return x


class _Merge(nn.Module):
    def forward(self, x: Tensor, size: Tensor, matching: Matching) -> tuple[Tensor, Tensor]:
        return merge_tokens(x, size, matching)


class _Unmerge(nn.Module):
    def forward(self, x: Tensor, matching: Matching) -> Tensor:
        return token_unmerge(x, matching.position)


def merge_output_names(block: int) -> tuple[str, str, str]:
    """Names of the outputs that tell what merged in ``block``: int32 (B, R), (B, R) and (B, K), see `token_match`."""
    source, target, kept = (f"merge_{kind}_{block}" for kind in _KINDS)
    return source, target, kept


CUTS: dict[str | None, Cut] = {None: Cut.BETWEEN, "tome": Cut.AROUND, "sd": Cut.BRANCHES}
