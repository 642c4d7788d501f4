"""What a method that merges is chosen by: a bound on what is lost, or a budget; and whether it is one that is sought."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import UsageError
from edgeexport.evaluation.segmenter_spec import is_segmenter
from edgeexport.recipe import load_recipe
from edgeexport.recipe.named import family_of_name

__all__ = ["REQUESTS", "MergingRequest", "concerns_merging", "merging_request"]

REQUESTS = {
    "min-cosine": (0.0, 1.0, "a cosine above 0 and below 1, such as 0.99"),
    "max-drop": (0.0, 100.0, "percentage points above 0 and below 100, such as 1"),
    "macs": (0.0, math.inf, "multiply-accumulates per image, above 0, such as 4e9"),
    "latency-ms": (0.0, math.inf, "milliseconds per image, above 0"),
}
"""Name -> what its number is above and below, and in words."""

_FOR_COUNTS = ("coverage", "max_miou_drop", "split", "threshold", "image_suffix", "label_suffix", "reduce_zero_label")


@dataclass(frozen=True)
class MergingRequest:
    """One of `REQUESTS` with its number."""

    kind: str
    value: float

    @property
    def is_budget(self) -> bool:
        """Whether work or time is bounded, and quality sought; else the other way round."""
        return self.kind in ("macs", "latency-ms")

    @property
    def text(self) -> str:
        """As on the command line."""
        value = f"{self.value / 1e9:g}e9" if self.kind == "macs" and self.value >= 1e7 else f"{self.value:g}"
        return f"--{self.kind} {value}"


def concerns_merging(subject: str | Path, options: CalibrationOptions) -> bool:
    """Whether it is a method that merges which is sought, and not the counts of a SegViT.

    Raises:
        RecipeError, CheckpointError: A budget was given, which both have, and the recipe cannot be loaded.
    """
    if options.given("min_cosine", "max_drop"):
        return True
    if options.given("coverage", "max_miou_drop") or not options.given("macs", "latency_ms"):
        return False
    if family_of_name(subject) is not None:
        return True
    return not is_segmenter(load_recipe(subject, options.cfg_options, options.checkpoint))


def merging_request(options: CalibrationOptions) -> MergingRequest:
    """The one thing that was asked for.

    Raises:
        UsageError: None, several, a number out of range, or an option that is for counts.
    """
    values = {kind: getattr(options, kind.replace("-", "_")) for kind in REQUESTS}
    given = {kind: value for kind, value in values.items() if value is not None}
    examples = "--min-cosine 0.99, --max-drop 1, --macs 4e9, or --latency-ms 5 --latency-table table.json"
    if len(given) != 1:
        found = f"found {' and '.join(f'--{kind}' for kind in given)}" if given else "found none"
        raise UsageError("calibrate", f"expected one thing to choose a method for, {found}", f"give {examples}")
    ((kind, value),) = given.items()
    if misplaced := options.given(*_FOR_COUNTS):
        remedy = f"leave out {misplaced[0]} or --{kind}"
        raise UsageError(misplaced[0], f"is not for --{kind} of a method that merges", remedy)
    above, below, meaning = REQUESTS[kind]
    if not above < value < below:
        raise UsageError(f"--{kind} {value:g}", f"expected {meaning}", f"for example {examples}")
    if kind == "latency-ms" and options.latency_table is None:
        raise UsageError("--latency-ms", "needs --latency-table", "python -m benchmarks block-table measures one")
    if kind != "latency-ms" and options.latency_table is not None:
        raise UsageError(f"--latency-table {options.latency_table}", "is for --latency-ms", "leave it out")
    return MergingRequest(kind, float(value))
