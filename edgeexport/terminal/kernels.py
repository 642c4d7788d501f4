"""Kernel plans on a terminal: by part of the model, reduced beside dense; and the line that says whether the reduction pays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from edgeexport.cost.pays import pays_line, pays_rows
from edgeexport.cost.policy import policy_headers, policy_rows
from edgeexport.terminal.output import print_line, results_console

__all__ = ["print_kernels", "print_pays", "print_pays_table"]

Json = Mapping[str, Any]


def print_pays(figures: Json | None, precision: str) -> None:
    """The first line of a build's summary and of an inspection; in amber where the reduction does not pay."""
    line = pays_line(figures, precision)
    if line is not None:
        print_line(line.text, "yellow" if line.warns else None)


def print_pays_table(figures: Json | None) -> None:
    """Predicted times in every precision and power mode, the reduced model beside its dense form."""
    if not figures or not figures["predicted"]:
        return
    how = "with plugins: composed" if figures["composed"] else "compiled"
    table = Table(title=f"predicted from kernel plans ({how}), reduced beside dense", title_justify="left")
    columns = ["precision", "power mode", "reduced ms", "dense ms", "dense / reduced"]
    for column in (*columns, "CUDA graph: reduced ms", "dense ms", "dense / reduced", "kernels", "dense kernels"):
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for row in pays_rows(figures):
        table.add_row(*row)
    results_console.print(table)
    if figures.get("policy"):
        _print_policy(figures["policy"])


def _print_policy(figures: Json) -> None:
    """A policy network with a graph of its own: on every n-th image, and on a deep-learning accelerator."""
    table = Table(title="predicted per image, policy network apart", title_justify="left")
    for column in policy_headers(figures):
        table.add_column(column, justify="left" if column in ("precision", "power mode") else "right")
    for row in policy_rows(figures):
        table.add_row(*row)
    results_console.print(table)
    print_line(f"DLA: {figures['accelerator']}", "dim")


def print_kernels(facts: Json) -> None:
    """Kernels, bytes and predicted time of every part (`edgeexport.commands.inspect.kernels_of_bundle`)."""
    for text in (*facts["missing"], *facts["taken_apart"]):
        print_line(text, "yellow")
    for plan in facts["plans"]:
        how = f"compiled for {plan['architecture']}"
        if plan["composed"]:
            how = "composed with plugins, not compiled" if plan["not_around"] else f"{how} around its plugins"
        title = f"{plan['model']} model, {plan['precision'].upper()}: {plan['kernels']} kernels ({how})"
        table = Table(title=title, title_justify="left")
        timed = plan["power_mode"] is not None
        columns = [
            "part",
            "kernels",
            "MB moved",
            "GMAC",
            *([f"ms at {plan['power_mode']}", "bound by"] if timed else []),
        ]
        for column in columns:
            table.add_column(column, justify="left" if column in ("part", "bound by") else "right")
        for part in (*plan["parts"], plan["total"]):
            cells = [part["title"], str(part["launches"]), f"{part['bytes'] / 1e6:.2f}", f"{part['macs'] / 1e9:.3f}"]
            table.add_row(*cells, *([f"{part['ms']:.3f}", part["bound"]] if timed else []))
        results_console.print(table)
        kinds = ", ".join(f"{name} {count}" for name, count in plan["kinds"].items())
        products = ", ".join(f"{name} {count}" for name, count in plan["product_dtypes"].items())
        print_line(f"kinds: {kinds}; products: {products or 'none'}", "dim")
