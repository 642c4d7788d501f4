"""Times the plugins' kernels: one JSON object on standard output, a table on standard error.

``python -m benchmarks.plugins [OP ...]`` runs a selection of the ops that have a plugin; all without arguments. Without a GPU
nothing is measured and the exit code is 6.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.plugins.cases import OPS, Case
from benchmarks.plugins.launchers import Launchers, load_launchers
from benchmarks.plugins.measuring import measure_us, memory_limit_gb_per_s
from edgeexport.errors import EdgeExportError

_NOT_RUN = 6
"""The exit code of an invalid measurement."""

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
_err = Console(stderr=True, width=None if sys.stderr.isatty() else 140)


def main(
    ops: Annotated[list[str] | None, typer.Argument(help=f"Some of: {', '.join(OPS)}.")] = None,
    rounds: Annotated[int, typer.Option(help="Counted rounds.", min=1)] = 100,
    batches: Annotated[list[int] | None, typer.Option("--batch", help="Images at once; repeatable.", min=1)] = None,
) -> None:
    """Runs the chosen ops."""
    chosen = ops or list(OPS)
    unknown = sorted(set(chosen) - set(OPS))
    if unknown:
        raise typer.BadParameter(f"unknown op {unknown[0]}; known: {', '.join(OPS)}")
    if not torch.cuda.is_available():
        _err.print("no GPU: not run")
        raise typer.Exit(_NOT_RUN)
    try:
        launchers = load_launchers()
    except EdgeExportError as error:
        _err.print(str(error), highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    limit = memory_limit_gb_per_s()
    rows = [
        _measured(op, kind, case, rounds, limit)
        for op in chosen
        for kind, case in _cases(launchers, op, batches or [1, 32])
    ]
    result = {
        "provenance": "measured",
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda},
        "protocol": f"CUDA events, L2 overwritten before each run, candidates in turn, median of {rounds}",
        "memory_limit_gb_per_s": round(limit, 1),
        "rows": rows,
    }
    _show(result)
    print(json.dumps(result, indent=1))


def _cases(launchers: Launchers, op: str, batches: list[int]) -> list[tuple[str, Case]]:
    return [
        (kind, case)
        for batch in batches
        for kind, dtype in _DTYPES.items()
        for case in OPS[op](launchers, dtype, batch)
    ]


def _measured(op: str, kind: str, case: Case, rounds: int, limit: float) -> dict[str, Any]:
    _err.print(f"... {op} {kind} {case.shape}", highlight=False)
    torch.compiler.reset()
    candidates = {"kernel": case.kernel, "torch": case.torch, "torch.compile": torch.compile(case.torch)}
    differing = case.differing()
    time_us = measure_us(candidates, rounds)
    kernel_us = time_us["kernel"]
    gb_per_s = case.bytes / kernel_us / 1e3
    return {
        "op": op,
        "dtype": kind,
        "shape": case.shape,
        "time_us": {name: round(value, 2) for name, value in time_us.items()},
        "speedup_over_torch": round(time_us["torch"] / kernel_us, 2),
        "speedup_over_compile": round(time_us["torch.compile"] / kernel_us, 2),
        "gb_per_s": round(gb_per_s, 1),
        "share_of_memory_limit": round(gb_per_s / limit, 3),
        "tflop_per_s": round(case.flop / kernel_us / 1e6, 3) if case.flop else None,
        "differing_share": differing,
    }


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['device']}, memory limit {result['memory_limit_gb_per_s']} GB/s (measured copy)")
    for name in (
        "op",
        "dtype",
        "shape",
        "kernel us",
        "torch us",
        "compile us",
        "GB/s",
        "of limit",
        "TFLOP/s",
        "differs",
    ):
        table.add_column(name)
    for row in result["rows"]:
        times = [str(value) for value in row["time_us"].values()]
        rate = "" if row["tflop_per_s"] is None else str(row["tflop_per_s"])
        share = f"{row['share_of_memory_limit']:.0%}"
        wrong = f"{row['differing_share']:.1e}"
        table.add_row(row["op"], row["dtype"], row["shape"], *times, str(row["gb_per_s"]), share, rate, wrong)
    _err.print(table)


if __name__ == "__main__":
    typer.run(main)
