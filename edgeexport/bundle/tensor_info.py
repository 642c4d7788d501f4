"""Name, type and shape of a graph value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TensorInfo"]


@dataclass(frozen=True)
class TensorInfo:
    """Name, numpy dtype name and constant shape of a graph value."""

    name: str
    dtype: str
    shape: tuple[int, ...]
