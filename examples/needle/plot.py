"""Accuracy against budget, drawn from needle.json: `python -m examples.needle.plot --out docs/needle_budgets.png`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

__all__ = ["drawn_budgets", "main"]

_STYLES = {
    "FlowMM": ("#1b6ca8", "-", "o"),
    "misaligned flow": ("#6aa9d8", "--", "v"),
    "no protection": ("#c0392b", "-", "s"),
    "eviction": ("#2e8b57", "-", "^"),
    "sink + recent": ("#8e7cc3", "-", "D"),
    "random": ("#7f7f7f", ":", "x"),
}
"""No flow guidance is left out: its line is FlowMM's."""


def drawn_budgets(found: dict[str, Any]) -> Figure:
    """A line per method, FlowMM's with its 95 % intervals, and the whole cache's accuracy.

    Args:
        found: Content of needle.json.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    whole = next(row for row in found["rows"] if row["budget"] == 1.0)
    axes.axhspan(*(100 * side for side in whole["interval"]), color="#f0e6c8", zorder=0)
    axes.axhline(100 * whole["all"], color="#8a6d1b", linewidth=1, label="whole cache, 95 % interval")
    for name, (colour, line, marker) in _STYLES.items():
        rows = sorted((row for row in found["rows"] if row["method"] == name), key=lambda row: row["budget"])
        budgets, right = [100 * row["budget"] for row in rows], [100 * row["all"] for row in rows]
        axes.plot(budgets, right, color=colour, linestyle=line, marker=marker, markersize=5, label=name)
        if name == "FlowMM":
            low, high = ([100 * row["interval"][side] for row in rows] for side in (0, 1))
            axes.fill_between(budgets, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="budget, % of the prompt's places", ylabel="both tokens right, %", xlim=(0, 63), ylim=(0, 100))
    count = 3 * found["samples"]
    axes.set_title(
        f"Needle model, {count} prompts (measured); too few right with the whole cache to rank methods", fontsize=9
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    return figure


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path, default=Path(__file__).with_name("needle.json"))
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    drawn_budgets(json.loads(asked.figures.read_text())).savefig(asked.out, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
