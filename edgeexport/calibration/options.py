"""What `edgeexport calibrate` was asked for, as it stands on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexport.evaluation.options import ImageRunOptions

__all__ = ["CalibrationOptions"]


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions(ImageRunOptions):
    """Exactly one of the first four chooses the method for counts; one of ``min_cosine``, ``max_drop``, ``macs`` and
    ``latency_ms`` chooses a method that merges; DSM's delay takes none of them.

    Attributes:
        coverage: The share of images for which no constant prunes a token below its threshold.
        max_miou_drop: Points of mIoU that may be lost against the dense model; the cheapest counts within. Needs labels.
        macs: A budget of multiply-accumulates per image; the best counts, or the best merging, within.
        latency_ms, latency_table: A budget of milliseconds by a table of parts; likewise.
        min_cosine: What every mean cosine to the dense model's outputs has to be; the cheapest merging that keeps it.
        max_drop: Percentage points of top-1 accuracy, or of agreement with the dense model, that may be lost; likewise.
        threshold: Instead of the thresholds that the heads state.
        data: Images, with annotations or without; None: none was given, and the delay has photographs of its own.
    """

    coverage: float | None = None
    max_miou_drop: float | None = None
    macs: float | None = None
    latency_ms: float | None = None
    latency_table: Path | None = None
    min_cosine: float | None = None
    max_drop: float | None = None
    threshold: float | None = None
    data: Path | None = None

    def given(self, *names: str) -> list[str]:
        """Those of the options named that differ from their default, as the command line spells them."""
        nothing = CalibrationOptions()
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) != getattr(nothing, name)]
