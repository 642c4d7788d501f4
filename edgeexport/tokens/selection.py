"""Selections of tokens by index, put back into scores."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["chosen"]


def chosen(tokens: Tensor, selection: Tensor) -> Tensor:
    """Scores by which exactly the selected of ``tokens`` (B, n) are taken: float32 (B, n), 1 for those, else 0."""
    return (tokens[:, :, None] == selection[:, None, :]).any(dim=2).to(torch.float32)
