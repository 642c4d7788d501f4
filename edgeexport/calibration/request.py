"""What counts are chosen by: one method with its number, checked before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import UsageError

__all__ = ["METHODS", "Request", "request_from_options"]

METHODS = {
    "coverage": (0.0, 1.0, "a share of the images, above 0 and at most 1"),
    "max-miou-drop": (-math.inf, 100.0, "points of mIoU, from 0 to 100"),
    "macs": (0.0, math.inf, "multiply-accumulates per image, above 0, such as 60e9"),
    "latency-ms": (0.0, math.inf, "milliseconds per image, above 0"),
}
"""Name -> what its number is above, at most, and in words."""

_EXAMPLES = "--coverage 0.9, --max-miou-drop 0.5, --macs 60e9, or --latency-ms 20 --latency-table table.json"


@dataclass(frozen=True)
class Request:
    """One of `METHODS` with its number: a share of images, points of mIoU, multiply-accumulates or milliseconds.

    ``threshold`` was given instead of those that the heads state; None: it was not.
    """

    method: str
    value: float
    threshold: float | None = None

    @property
    def text(self) -> str:
        """As on the command line."""
        threshold = "" if self.threshold is None else f" --threshold {self.threshold:g}"
        value = f"{self.value / 1e9:g}e9" if self.method == "macs" and self.value >= 1e7 else f"{self.value:g}"
        return f"--{self.method} {value}{threshold}"


def request_from_options(options: CalibrationOptions) -> Request:
    """The one method that was asked for.

    Raises:
        UsageError: None, several, or a number out of range.
    """
    values = {method: getattr(options, method.replace("-", "_")) for method in METHODS}
    given = {method: value for method, value in values.items() if value is not None}
    if len(given) != 1:
        several = f"found {' and '.join(f'--{name}' for name in given)}" if given else "found none"
        raise UsageError(
            "calibrate", f"expected one thing to calibrate for, {several}", f"give {_EXAMPLES}, or --delay"
        )
    ((method, value),) = given.items()
    above, most, meaning = METHODS[method]
    if not above < value <= most or (method == "max-miou-drop" and value < 0) or math.isinf(value):
        raise UsageError(f"--{method} {value:g}", f"expected {meaning}", f"for example {_EXAMPLES}")
    threshold = options.threshold
    if threshold is not None and not 0 <= threshold < 1:
        raise UsageError(f"--threshold {threshold:g}", "expected a confidence from 0 to below 1", "such as 0.95")
    return Request(method, float(value), threshold)
