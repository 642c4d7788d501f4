"""How a comparison of bundles looks on a terminal: rich tables on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from edgeexport.comparison.markdown import number_text
from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.comparison.compare import BundleComparison

__all__ = ["print_comparison"]

_OUTCOMES = {"failed": ("failed", "bold red"), "ok": ("ok", "green"), "undecided": ("no difference shown", "yellow")}


def print_comparison(comparison: BundleComparison) -> None:
    """Figures side by side, the change of the latency, conditions, and what differs otherwise."""
    table = Table(title="A against B", title_justify="left")
    for column in ("metric", "A", "B", "B / A", "from"):
        table.add_column(column, justify="left" if column in ("metric", "from") else "right")
    for name in comparison.shown:
        a, b = comparison.a.metrics.get(name), comparison.b.metrics.get(name)
        some = b or a
        assert some is not None
        values = (None if a is None else a.value, None if b is None else b.value, comparison.ratio(name))
        table.add_row(name, *map(number_text, values), f"{some.source}, {some.provenance}")
    for side, figures, name in zip("AB", (comparison.a, comparison.b), comparison.names, strict=True):
        print_line(f"{side}: {name}, {figures.bundle.path}")
    results_console.print(table)
    if comparison.latency is not None:
        change = comparison.latency
        interval = f"{change.low:.4f} to {change.high:.4f}, {change.confidence:.0%} interval"
        print_line(f"compute time, B / A: {change.ratio:.4f} ({interval}): {change.verdict}")
        print_line(f"{change.samples[0]} and {change.samples[1]} samples, {change.method}", "dim")
    for difference in comparison.differences:
        note = "; measured figures are not comparable" if difference.decisive else ""
        print_line(f"different: {difference}{note}", "yellow" if difference.decisive else "dim")
    for item in comparison.conditions:
        verdict, style = _OUTCOMES[item.outcome]
        print_line(f"{verdict}: {item.condition.text}  ({item.found})", style)
