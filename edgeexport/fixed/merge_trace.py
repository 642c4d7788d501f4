"""What a model with token merging decided in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeexport.ops.match_tables import MatchTables
from edgeexport.ops.token_match import best_and_gap, token_match
from edgeexport.reductions.merging import Decision, Matching, matching_from_decision

__all__ = ["MergeTrace", "merge_output_names"]

_KINDS = ("source", "target", "kept")


@dataclass
class MergeTrace:
    """Prediction and decisions; indices count the tokens entering their block, prefix tokens included.

    Attributes:
        prediction: The model's output.
        source: block -> int32 (B, R), tokens that merged into another.
        target: block -> int32 (B, R), the tokens that they merged into.
        kept: block -> int32 (B, K), the candidates that stayed, in the order in which they stand afterwards.
        best: block -> float32 (B, N), how far each candidate's best similarity lies above its window's cut (eager only).
        gap: block -> float32 (B, N), the best similarity's lead over the second (eager only).
        size: float32 (B, M, 1), how many tokens of block 1 each final token stands for.
        origin: int32 (B, N0), the final token of every token of block 1.
        imposed: block -> a decision to carry out instead of the model's own: how an execution that decided a near tie
            differently is followed.
    """

    prediction: Tensor | None = None
    source: dict[int, Tensor] = field(default_factory=dict)
    target: dict[int, Tensor] = field(default_factory=dict)
    kept: dict[int, Tensor] = field(default_factory=dict)
    best: dict[int, Tensor] = field(default_factory=dict)
    gap: dict[int, Tensor] = field(default_factory=dict)
    size: Tensor | None = None
    origin: Tensor | None = None
    imposed: Mapping[int, Decision] = field(default_factory=dict)

    def matched(self, block: int, metric: Tensor, tables: MatchTables, *, raster: bool = False) -> Matching:
        """Decides what merges in ``block`` and keeps the decision, and outside an export the scores behind it.

        Where a decision is imposed, the own one is kept all the same, and the imposed one is carried out.
        """
        decision = token_match(metric, tables)
        self.source[block], self.target[block], self.kept[block] = decision
        if not torch.onnx.is_in_onnx_export():
            self.best[block], self.gap[block] = best_and_gap(metric, tables)
        return matching_from_decision(self.imposed.get(block, decision), tables, raster=raster)

    def decisions(self) -> dict[str, Tensor]:
        """The decisions by output name, in order of depth."""
        return {f"merge_{kind}_{block}": getattr(self, kind)[block] for block in sorted(self.source) for kind in _KINDS}


def merge_output_names(blocks: list[int]) -> list[str]:
    """Names under which `MergeTrace.decisions` gives the decisions of ``blocks``."""
    return [f"merge_{kind}_{block}" for block in blocks for kind in _KINDS]
