"""Where the tokens of one image are while it runs as published: index vectors and plain lists, lengths by the image."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["PublishedStage", "PublishedTokens"]


@dataclass(frozen=True)
class PublishedStage:
    """What an exit saw of one image, before tokens left.

    Attributes:
        tokens: int64 (n,), those that met it, ascending, counted as those of block 1.
        confidence: float32 (n,), each token's best class score.
        label: int32 (n,), that class.
    """

    tokens: Tensor
    confidence: Tensor
    label: Tensor


@dataclass
class PublishedTokens:
    """What published steps read and write; tokens are counted as those of block 1.

    Attributes:
        count: Tokens that entered block 1.
        size: float32 (n,), tokens that each present one stands for.
        bias: float32 (1, 1, 1, n), what the next attention adds to the logits of every key; None: nothing.
        rotation: float32 (n, 2 d), see `Trace.rotation`.
        origin: The present token that holds each token of block 1, where tokens merged.
        alive: int64 (n,), which token of block 1 each present one is, where some left.
        left: Those that left, and what their exit's head said of them: int64 (k,) and float32 (k, K).
        share: int64 (N,), the token of every patch, where patches share tokens; None: one each.
        outputs: Name -> tensor, as a `Trace` names them, without a batch axis.
        scores: Decision -> the scores behind it.
        stages: Block -> what the exit there saw.
        origins: Block whose tokens are read -> ``origin`` as it was after it, where tokens had merged.
    """

    count: int = 0
    size: Tensor = field(default_factory=lambda: torch.ones(0))
    bias: Tensor | None = None
    rotation: Tensor | None = None
    origin: list[int] = field(default_factory=list)
    alive: Tensor = field(default_factory=lambda: torch.arange(0))
    left: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    share: Tensor | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)
    scores: dict[str, Tensor] = field(default_factory=dict)
    stages: dict[int, PublishedStage] = field(default_factory=dict)
    origins: dict[int, list[int]] = field(default_factory=dict)

    def enter(self, count: int) -> None:
        """``count`` tokens enter block 1."""
        self.count, self.size = count, torch.ones(count)
        self.origin, self.alive = list(range(count)), torch.arange(count)

    def restored(self, block: int, x: Tensor) -> Tensor:
        """Tokens (1, n, C) after a block that is read, each at every place that it came from: (1, N0, C)."""
        places = self.origins.get(block)
        return x if places is None else torch.stack([x[:, place] for place in places], dim=1)
