"""parity.json and verify.json in a few figures: the worst of all comparisons, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["AGREEMENT_NAMES", "agreement_figures"]

_LOWEST = ("cosine", "agreement")
_LARGEST = ("max_abs", "max_rel")
_COUNTED = ("differing", "unexplained", "not_finite")
AGREEMENT_NAMES = ("comparisons", "failed", *_LOWEST, "jaccard", *_LARGEST, *_COUNTED)


def agreement_figures(document: Mapping[str, Any]) -> dict[str, float]:
    """Sums a list of comparisons up.

    Args:
        document: What `edgeexport.verify.compare.Comparison.as_dict` gave, under ``comparisons``.

    Returns:
        ``comparisons`` and ``failed``, and of `AGREEMENT_NAMES` those that some output or decision tells: a model without
        class map has no ``agreement``, one whose only output is a class map no ``cosine``. Where an output could not be
        compared as a whole (other shape, values that are not finite), there are no figures of errors at all: they would be
        those of the rest.
    """
    comparisons = document["comparisons"]
    figures: dict[str, float] = {
        "comparisons": len(comparisons),
        "failed": sum(item.get("status") == "failed" for item in comparisons),
    }
    figures |= _worst("jaccard", min, _values(comparisons, "decisions", "jaccard"))
    if not any(_partly_compared(output) for item in comparisons for output in item.get("outputs") or []):
        for name in _LOWEST:
            figures |= _worst(name, min, _values(comparisons, "outputs", name))
        for name in _LARGEST:
            figures |= _worst(name, max, _values(comparisons, "outputs", name))
    for name in _COUNTED:
        figures |= _worst(name, sum, _values(comparisons, "outputs", name))
    return figures


def _partly_compared(output: Mapping[str, Any]) -> bool:
    told = any(output.get(name) is not None for name in (*_LOWEST, *_LARGEST))
    return bool(output.get("not_finite")) or not told


def _worst(name: str, choose: Callable[[list[float]], float], values: Iterator[float]) -> dict[str, float]:
    figures = list(values)
    return {name: choose(figures)} if figures else {}


def _values(comparisons: list[dict[str, Any]], part: str, name: str) -> Iterator[float]:
    for comparison in comparisons:
        yield from (float(item[name]) for item in comparison.get(part) or [] if item.get(name) is not None)
