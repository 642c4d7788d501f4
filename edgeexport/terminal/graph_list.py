"""How a bundle of several graphs looks on a terminal: its graphs, its cache, and decoding by context and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from edgeexport.terminal.output import print_line, results_console

__all__ = ["print_decoding", "print_graphs"]


def print_graphs(manifest: Mapping[str, Any], figures: Sequence[Mapping[str, Any]]) -> None:
    """The graphs with their work and plans, the cache by budget, and what was checked.

    Args:
        manifest: Or as much of it as `inspect` tells.
        figures: See `edgeexport.report.graph_figures.figures_of_graphs`.
    """
    title = (
        f"{manifest['name']}: graphs (computed; kernels and ms predicted for {manifest['target']}'s fastest power mode)"
    )
    table = Table(title=title, title_justify="left")
    for column in ("graph", "opset", "MMAC", "MB moved", "weights, MB", "kernels", "ms", "TensorRT-RTX"):
        table.add_column(column, justify="left" if column in ("graph", "TensorRT-RTX") else "right")
    checks, prompt = manifest["checks"], manifest["prompt"]
    for graph in figures:
        check = checks.get(f"tensorrt_rtx.{graph['name']}", checks["tensorrt_rtx"])
        table.add_row(
            f"{graph['name']}.onnx",
            str(graph["opset"]),
            f"{graph['macs'] / 1e6:.2f}",
            _mega(graph["bytes"]),
            _mega(graph["weight_bytes"]),
            "no plan" if graph["kernels"] is None else str(graph["kernels"]),
            "unknown" if graph["ms"] is None else f"{graph['ms']:.4f}",
            check["status"],
        )
    results_console.print(table)
    costs = Table(
        title="cache (computed), time per token (predicted: weights and cache read once)", title_justify="left"
    )
    for column in ("budget", "slots", "cache, MB", "ms per token"):
        costs.add_column(column, justify="right")
    for cost in manifest["cache_costs"]:
        time = "unknown" if cost["predicted_ms"] is None else f"{cost['predicted_ms']:.4f}"
        own = " (this bundle)" if cost["slots"] == prompt["slots"] else ""
        costs.add_row(f"{cost['share']:.0%}{own}", str(cost["slots"]), f"{cost['cache_bytes'] / 1e6:.3f}", time)
    results_console.print(costs)
    print_line(manifest["weights"]["statement"])
    kept = f"{prompt['slots']} of {prompt['length']} places kept, {prompt['new_tokens']} new tokens"
    print_line(f"cache: {kept}, updated by {prompt['cache_update']}")
    parity = checks["parity"]
    print_line(f"parity: {parity['status']}" + (f" ({parity['reason']})" if parity["reason"] else ""))


def print_decoding(rows: Sequence[Mapping[str, Any]]) -> None:
    """`edgeexport.cost.cache.decode_table`."""
    title = "ms per decoded token by context and budget (predicted: weights and cache read once, fastest power mode)"
    table = Table(title=title, title_justify="left")
    for column in ("context", "budget", "cache, MB", *rows[0]["ms"]):
        table.add_column(column, justify="right")
    for row in rows:
        times = [f"{ms:.4f}" for ms in row["ms"].values()]
        table.add_row(str(row["context"]), f"{row['budget']:.0%}", f"{row['cache_bytes'] / 1e6:.3f}", *times)
    results_console.print(table)


def _mega(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.2f}"
