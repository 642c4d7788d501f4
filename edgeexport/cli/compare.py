"""``edgeexport compare``: two bundles by what was measured and computed of them. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import JsonFlag
from edgeexport.errors import UsageError
from edgeexport.terminal.output import emit, error_told

__all__ = ["compare"]


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The bundle that B is held against.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The bundle in question.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            help='Exit code 8 if this holds, such as "latency_p50_ms > 1.03*A" (A is A\'s value of the same name) or '
            '"parity.cosine < 0.999"; a bare name is B\'s; repeatable.',
        ),
    ] = None,
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different", help="Judge measured figures of different devices, power modes or backends."),
    ] = False,
    allow_unstable: Annotated[
        bool, typer.Option("--allow-unstable", help="Judge figures of a run during which the device changed.")
    ] = False,
    markdown: Annotated[Path | None, typer.Option(help="Also write the comparison there, as Markdown.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare two bundles: latency, energy, agreement, tokens, sizes. Exit code 8 if a condition fails."""
    from edgeexport.bundle.files import disk_errors, write_file
    from edgeexport.comparison.compare import compare_bundles
    from edgeexport.comparison.markdown import markdown_from_comparison
    from edgeexport.terminal.comparison import print_comparison

    comparison = compare_bundles(a, b, fail_if or [], allow_different=allow_different, allow_unstable=allow_unstable)
    if markdown is not None:
        with disk_errors(markdown, "give another file for --markdown", kind=UsageError):
            write_file(markdown, markdown_from_comparison(comparison))
    emit(json_output, comparison.as_dict(), lambda: print_comparison(comparison))
    if comparison.error is not None:
        error_told(f"error: {comparison.error}")
        raise typer.Exit(comparison.error.exit_code)
