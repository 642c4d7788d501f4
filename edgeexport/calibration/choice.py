"""The counts that a method chose, with what it has to say of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgeexport.calibration.counts import Counts

__all__ = ["Choice"]


@dataclass(frozen=True)
class Choice:
    """What a method chose.

    Attributes:
        counts: Aligned; the dense model's where nothing else meets the request.
        exact: What the same request gives without alignment; None where ``counts`` are the dense model's.
        reason: Why the dense model wins, or ''.
        limit: ('cost' or 'quality', value), or None.
        notes: Sentences for the reader.
        details: What else there is to show, JSON-ready.
    """

    counts: Counts
    exact: Counts | None
    reason: str
    limit: tuple[str, float] | None = None
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
