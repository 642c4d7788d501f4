"""A chart as the report shows it: the drawing, what its colours mean, and the same figures as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["Chart", "Swatch", "Table", "used"]


@dataclass(frozen=True)
class Swatch:
    """A swatch and its meaning; ``kind`` is a class of report.css."""

    kind: str
    text: str


@dataclass(frozen=True)
class Table:
    """Figures as text. The first column is a label, the others are numbers where ``numeric``.

    ``sums`` are the numbers of rows that add up others, ``warns`` of those that are shown as a warning.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True
    sums: tuple[int, ...] = ()
    warns: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chart:
    """An inline SVG with its legend and its table; ``note`` says what the figures are."""

    svg: Markup
    legend: tuple[Swatch, ...]
    table: Table
    note: str = ""


def used(legend: Sequence[Swatch], kinds: Sequence[str]) -> tuple[Swatch, ...]:
    """The entries that a drawing needs."""
    return tuple(entry for entry in legend if entry.kind in kinds)
