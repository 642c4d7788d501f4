"""A chart as the report shows it: the drawing, what its colours mean, and the same figures as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["Chart", "LegendEntry", "Table", "used"]


@dataclass(frozen=True)
class LegendEntry:
    """A swatch and its meaning; ``kind`` is a class of report.css."""

    kind: str
    text: str


@dataclass(frozen=True)
class Table:
    """Figures as text. The first column is a label, the others are numbers where ``numeric``.

    ``sums`` are the numbers of rows that add up others.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True
    sums: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chart:
    """An inline SVG with its legend and its table; ``note`` says what the figures are."""

    svg: Markup
    legend: tuple[LegendEntry, ...]
    table: Table
    note: str = ""


def used(legend: Sequence[LegendEntry], kinds: Sequence[str]) -> tuple[LegendEntry, ...]:
    """The entries that a drawing needs."""
    return tuple(entry for entry in legend if entry.kind in kinds)
