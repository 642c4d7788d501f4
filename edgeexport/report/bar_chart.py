"""Bars below each other, each under a line of text: for few figures with long names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgeexport.report.svg import axis_top, document, drawable, rectangle, text

__all__ = ["Bar", "bar_chart"]

_LINE, _BAR, _GAP = 18, 12, 10


@dataclass(frozen=True)
class Bar:
    """A name, its figure as text, the same as a number, and a class of report.css."""

    label: str
    figure: str
    value: float
    kind: str


def bar_chart(name: str, title: str, description: str, bars: Sequence[Bar]) -> Markup:
    """Draws the bars, whose lengths are in proportion to their values; the longest takes most of the width.

    Args:
        name: Unique on the page.
        title, description: What stands for the drawing where it is not seen.
        bars: From the top downwards; values that are negative or no numbers are drawn as 0.
    """
    longest = axis_top([drawable(bar.value) for bar in bars])
    rows = []
    for index, bar in enumerate(bars):
        top = index * (_LINE + _BAR + _GAP)
        rows.append(text(bar.label, 0, top + 13))
        rows.append(text(bar.figure, 100, top + 13, anchor="end"))
        rows.append(rectangle("track", 0, top + _LINE, 100, _BAR))
        rows.append(rectangle(bar.kind, 0, top + _LINE, 100 * drawable(bar.value) / longest, _BAR))
    return document(name, title, description, len(bars) * (_LINE + _BAR + _GAP), rows)
