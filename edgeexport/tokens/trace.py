"""One pass through a fixed model: where tokens are, what was decided, and what comes out by name.

A trace is handed to every step and is the only thing that steps change. Tokens are counted as those of block 1 unless it says
otherwise, prefix tokens included; B images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeexport.ops.token_unmerge import token_unmerge

__all__ = ["Departed", "Evidence", "Seen", "Trace", "inverse_permutation"]


class Evidence(Protocol):
    """How clear a decision was, by the scores behind it; kept outside an export alone."""

    def scores(self, near_tie: float) -> NDArray:
        """float (B, N): the largest are chosen. NaN where a token was not eligible, infinite where scores within ``near_tie``
        decide about it.
        """

    def gaps(self) -> NDArray | None:
        """float (B, N), the lead of every token's best match over its second; None where nothing is matched."""


@dataclass(frozen=True)
class Departed:
    """Tokens that left: int32 (B, k) which they are, and (B, k, K) what their head said of them."""

    tokens: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Seen:
    """What an exit was shown: int32 (B, n), which tokens (None: all of block 1), and their class scores (B, K, n)."""

    tokens: Tensor | None
    scores: Tensor


@dataclass
class Trace:
    """What steps read and write.

    Attributes:
        imposed: Output name -> a decision to be carried out instead of the model's own, which is told all the same: how an
            execution that decided a near tie differently is followed.
        outputs: Name -> tensor, everything that a graph of the model can give out.
        evidence: Decision -> what lies behind it, in order of depth; empty during an export.
        share: int32 (B, N), the token of every patch, where patches share tokens; None: one each.
        size: float32 (B, n, 1), tokens of block 1 that every present token stands for; None: one each.
        bias: float32 (B, 1, 1, n), what the next attention adds to the logits of every key; None: nothing.
        rotation: float32 (B or 1, n, 2 d), sine and cosine of the angles by which queries and keys of every present token are
            turned, for hosts with rotary positions; None: by nothing.
        origin: int32 (B, N0), the present token that holds every token of block 1, where tokens merged for good.
        alive: int32 (B, n), which token of block 1 every present one is, where some left; None: all are there.
        departed: Those that left, in order.
        seen: Block -> what its exit was shown, for exits that were asked for.
        origins: Block whose tokens are read -> ``origin`` as it was after it, where tokens had merged.
    """

    imposed: Mapping[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    share: Tensor | None = None
    size: Tensor | None = None
    bias: Tensor | None = None
    rotation: Tensor | None = None
    origin: Tensor | None = None
    alive: Tensor | None = None
    departed: list[Departed] = field(default_factory=list)
    seen: dict[int, Seen] = field(default_factory=dict)
    origins: dict[int, Tensor] = field(default_factory=dict)

    @property
    def prediction(self) -> Tensor:
        """The model's first output."""
        return next(iter(self.outputs.values()))

    def keep(self, decision: str, evidence: Evidence) -> None:
        """Remembers what lies behind a decision, outside an export."""
        if not torch.onnx.is_in_onnx_export():
            self.evidence[decision] = evidence

    def brought_back(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the present tokens, with those of the departed, and where every patch finds its own.

        Args:
            rows: (B, n, K), in the order of the present tokens.

        Returns:
            (B, n', K), and int32 (B, N): a row for every patch; None where they stand in order already. One gather by it
            brings everything back, so it is composed of small tables first.
        """
        index: Tensor | None = None
        if self.alive is not None:
            index = inverse_permutation(torch.cat([*(item.tokens for item in self.departed), self.alive], dim=1))
            rows = torch.cat([*(item.rows for item in self.departed), rows], dim=1)
        if self.share is not None:
            index = self.share if index is None else token_unmerge(index[:, :, None], self.share)[:, :, 0]
        return rows, index

    def restored(self, block: int, x: Tensor) -> Tensor:
        """Tokens (B, n, C) after a block that is read -> (B, N0, C): those that merged, at every place that they came from."""
        origin = self.origins.get(block)
        return x if origin is None else token_unmerge(x, origin)

    def places(self, batch: int, tokens: int, prefix: int) -> Tensor:
        """Which present token stands for each token of the dense model: int64 (B, prefix + N), -1 where it left.

        Args:
            batch: B.
            tokens: That entered block 1, prefix tokens included.
            prefix: Prefix tokens among them.
        """
        places = torch.arange(tokens).expand(batch, -1) if self.origin is None else self.origin.long()
        if self.alive is not None:
            present = torch.arange(self.alive.shape[1]).expand(batch, -1)
            places = torch.full((batch, tokens), -1).scatter(1, self.alive.long(), present)
        if self.share is not None:
            patches = places[:, prefix:].gather(1, self.share.long())
            places = torch.cat([places[:, :prefix], patches], dim=1)
        return places


def inverse_permutation(order: Tensor) -> Tensor:
    """int32 (B, n) permutations -> int32 (B, n) with ``inverse[order[i]] = i``, by a collision-free scatter."""
    index = torch.arange(order.shape[1], dtype=torch.int32)[None].expand(order.shape[0], -1)
    return torch.zeros_like(order).scatter(1, order.long(), index)
