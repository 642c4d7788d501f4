"""What `edgeexport inspect` recognised of an ONNX file, as tables."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from edgeexport.terminal.output import print_line, results_console

__all__ = ["print_recognition"]

_SHOWN = 12  # rows of blocks, and of softmaxes, that are shown of many


def print_recognition(found: dict[str, Any] | None) -> None:
    """Tokens and blocks that a build would act on; or why it would not, and what became of every softmax."""
    if found is None:
        print_line("blocks: not looked for, the packages that a build needs are not installed", "dim")
        return
    refused = found["refused"]
    if refused is not None:
        print_line(f"not recognised: {refused['where']} | {refused['problem']} | {refused['remedy']}", "yellow")
        _print_softmaxes(found["softmaxes"])
        return
    tokens, image, tail = found["tokens"], found["image"], found["tail"]
    rows, columns = tokens["grid"]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in (
        ("image", f"{image['name']} {image['shape']}, batch {image['batch']}"),
        (
            "tokens",
            f"{tokens['all']} = {tokens['prefix']} + {rows} x {columns}, {found['width']} wide, {found['heads']} heads",
        ),
        ("rows per token", ", ".join(found["tables"]) or "none"),
        (
            "tail",
            f"{tail['nodes']} nodes, reads block {', '.join(map(str, tail['reads']))}; merged tokens {tail['tokens']}",
        ),
        ("outputs", ", ".join(tail["outputs"])),
    ):
        table.add_row(Text(name, "bold"), Text(text))
    results_console.print(table)
    blocks = Table("block", "softmax", "merges at", "ends at", "nodes", "sizes rewritten", "masks removed")
    for block in found["blocks"][:_SHOWN]:
        numbers = (block["nodes"], block["sizes_rewritten"], block["masks_removed"])
        names = (block["softmax"], block["merges_at"], block["ends"])
        blocks.add_row(str(block["block"]), *map(Text, names), *map(str, numbers))
    results_console.print(blocks)
    if len(found["blocks"]) > _SHOWN:
        print_line(f"and {len(found['blocks']) - _SHOWN} more; --json shows all", "dim")


def _print_softmaxes(softmaxes: list[dict[str, Any]]) -> None:
    table = Table("softmax", "over", "attention", "what is missing")
    for row in softmaxes[:_SHOWN]:
        table.add_row(
            Text(row["node"]), Text(str(row["shape"])), "yes" if row["attention"] else "no", Text(row["reason"])
        )
    if softmaxes:
        results_console.print(table)
    if len(softmaxes) > _SHOWN:
        print_line(f"and {len(softmaxes) - _SHOWN} more; --json shows all", "dim")
