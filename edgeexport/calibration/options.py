"""What `edgeexport calibrate` was asked for, as it stands on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexport.evaluation.options import ImageRunOptions

__all__ = ["CalibrationOptions"]


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions(ImageRunOptions):
    """Exactly one of the first four chooses the method for counts; DSM's delay takes none of them.

    Attributes:
        coverage: The share of images for which no constant prunes a token below its threshold.
        max_miou_drop: Points of mIoU that may be lost against the dense model; the cheapest counts within. Needs labels.
        macs: A budget of multiply-accumulates per image; the best counts within.
        latency_ms, latency_table: A budget of milliseconds by a table of parts; the best counts within.
        threshold: Instead of the thresholds that the heads state.
        data: Images, with annotations or without; None: none was given, and the delay has photographs of its own.
    """

    coverage: float | None = None
    max_miou_drop: float | None = None
    macs: float | None = None
    latency_ms: float | None = None
    latency_table: Path | None = None
    threshold: float | None = None
    data: Path | None = None

    def given(self, *names: str) -> list[str]:
        """Those of the options named that differ from their default, as the command line spells them."""
        nothing = CalibrationOptions()
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) != getattr(nothing, name)]
