"""Merged tokens brought back where they are read, as a module, so that its nodes in a graph are told apart."""

from __future__ import annotations

from torch import Tensor, nn

from edgeexport.tokens.trace import Trace

__all__ = ["Restored"]


class Restored(nn.Module):
    """Tokens (B, n, C) after a block -> (B, N, C), each at every place that it came from; see `Trace.restored`."""

    def forward(self, x: Tensor, block: int, trace: Trace) -> Tensor:
        return trace.restored(block, x)
