"""What was asked for: a bound on what is lost, a budget of time, or both; and how well a form serves it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgeexport.calibration.merging_candidate import low_end
from edgeexport.errors import UsageError
from edgeexport.tune.trials import Kept

__all__ = ["PRECISIONS", "Bounds", "TuneOptions", "bounds_from_options", "seconds_of_budget"]

PRECISIONS = ("fp16", "fp32")
"""Tried unless others are asked for, the fastest first."""

_EXAMPLES = "give --min-cosine 0.99, --max-drop 1 or --latency-ms 8"
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """As on the command line.

    Attributes:
        data: Images; folders of classes are labels.
        target: Whose latency is predicted.
        min_cosine, max_drop, latency_ms: See `Bounds`.
        latency_table: A device's measured times instead of predicted ones.
        precisions: Empty: `PRECISIONS`, of a target without TensorRT fp32 alone.
        methods: Empty: all that the model takes.
        trials: That the search asks for; results depend on it, not on who computes them.
        budget: Time after which no further trial is begun, such as '2h'.
        workers: Processes; 0: this one.
        scheduler: Address of a Dask scheduler instead.
        limit: Only so many images.
        seed: Of the search.
        out_dir: None: tune/<recipe>.
    """

    data: Path | None = None
    target: str = "orin"
    min_cosine: float | None = None
    max_drop: float | None = None
    latency_ms: float | None = None
    latency_table: Path | None = None
    precisions: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    trials: int = 48
    budget: str | None = None
    workers: int = 0
    scheduler: str | None = None
    limit: int | None = None
    seed: int = 0
    checkpoint: Path | None = None
    cfg_options: tuple[str, ...] = ()
    out_dir: Path | None = None
    restart: bool = False


@dataclass(frozen=True)
class Bounds:
    """Of what is lost at most one of the first two; beside it, or alone, a budget.

    Attributes:
        min_cosine: Low end of the interval of every mean cosine to the dense model's outputs.
        max_drop: Percentage points of accuracy, or of agreement with the dense model where no folders name classes.
        latency_ms: Per image.
    """

    min_cosine: float | None
    max_drop: float | None
    latency_ms: float | None

    @property
    def bounds_loss(self) -> bool:
        """Whether what is lost is bounded and time sought; else the other way round."""
        return self.min_cosine is not None or self.max_drop is not None

    @property
    def text(self) -> str:
        """As on the command line."""
        named = {"min-cosine": self.min_cosine, "max-drop": self.max_drop, "latency-ms": self.latency_ms}
        return " ".join(f"--{name} {value:g}" for name, value in named.items() if value is not None)

    def holds(self, kept: Kept) -> bool:
        """Whether what is lost is within the bound: of cosines with their interval, of points the mean."""
        if self.min_cosine is not None:
            return kept.worst is not None and low_end(kept.worst) >= self.min_cosine
        if self.max_drop is not None:
            return kept.drop is not None and kept.drop.figure.mean <= self.max_drop
        return True

    def excess(self, kept: Kept) -> float:
        """How far beyond the bound, in units of what it allows; 0 within. By means, since few images have wide intervals."""
        if self.min_cosine is not None and kept.worst is not None:
            return max((self.min_cosine - kept.worst.mean) / (1 - self.min_cosine), 0.0)
        if self.max_drop is not None and kept.drop is not None:
            return max((kept.drop.figure.mean - self.max_drop) / self.max_drop, 0.0)
        return 0.0

    def loss(self, kept: Kept) -> float:
        """What is lost, to compare by: the share of points, then of the worst cosine."""
        worst = 0.0 if kept.worst is None else 1 - kept.worst.mean
        if self.min_cosine is None and kept.drop is not None and kept.drop.measure != "agreement":
            return kept.drop.figure.mean / 100 + 1e-3 * worst
        return worst

    def check_told(self, kept: Kept, name: str) -> None:
        """Raises: UsageError: Nothing that was measured tells what is asked."""
        if self.max_drop is not None and kept.drop is None:
            remedy = "give images in a folder for each class, a model with a classifier, or --min-cosine"
            raise UsageError(name, "gives no classes, and the images lie in no folders of classes", remedy)
        if kept.worst is None and kept.drop is None:
            raise UsageError(name, "gives no output whose cosine tells anything", "ask for features or an embedding")


def bounds_from_options(options: TuneOptions) -> Bounds:
    """Raises: UsageError: None, two bounds on the same, or a number out of range."""
    ranges = {
        "min-cosine": (options.min_cosine, 1.0, "a cosine above 0 and below 1"),
        "max-drop": (options.max_drop, 100.0, "percentage points above 0 and below 100"),
        "latency-ms": (options.latency_ms, float("inf"), "milliseconds per image above 0"),
    }
    for name, (value, below, meaning) in ranges.items():
        if value is not None and not 0 < value < below:
            raise UsageError(f"--{name} {value:g}", f"expected {meaning}", _EXAMPLES)
    if options.min_cosine is not None and options.max_drop is not None:
        raise UsageError("--min-cosine and --max-drop", "both bound what is lost, expected one", "leave one out")
    if all(value is None for value, _, _ in ranges.values()):
        raise UsageError("tune", "expected a bound to tune for, found none", _EXAMPLES)
    return Bounds(options.min_cosine, options.max_drop, options.latency_ms)


def seconds_of_budget(text: str | None) -> float | None:
    """'90s', '30m' or '2h' in seconds. Raises: UsageError: It is none."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--budget {text}", "expected a time above 0, such as 90s, 30m or 2h", "give one of these")
    return float(match[1]) * _UNITS[match[2]]
