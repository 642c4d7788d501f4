"""``edgeexport compare``: two bundles by what was measured and computed of them. No logic."""

from __future__ import annotations

import os
import sys
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
            help='Exit code 8 if this holds, such as "latency.ratio_low > 1.03" (slower by over 3 %, by the whole 95 % '
            'interval), "tokens.macs > A" (A is A\'s value of the same name) or "parity.cosine < 0.999"; a bare name is B\'s; '
            "repeatable.",
        ),
    ] = None,
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different", help="Judge measured figures of different devices, power modes or backends."),
    ] = False,
    allow_unstable: Annotated[
        bool, typer.Option("--allow-unstable", help="Judge figures of a run during which the device changed.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 8 also for what the measurements leave undecided.")
    ] = False,
    github: Annotated[
        bool,
        typer.Option("--github", help="In GitHub Actions: annotate each condition, and append to the job's summary."),
    ] = False,
    markdown: Annotated[Path | None, typer.Option(help="Also write the comparison there, as Markdown.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare two bundles: latency, energy, agreement, tokens, sizes. Exit code 8 if a condition fails; one about an interval
    that the measurements leave undecided shows no difference, which passes without --strict.
    """
    from edgeexport.bundle.files import disk_errors, write_file
    from edgeexport.comparison.compare import compare_bundles
    from edgeexport.comparison.github import append_summary, github_annotations
    from edgeexport.comparison.markdown import markdown_from_comparison
    from edgeexport.terminal.comparison import print_comparison

    comparison = compare_bundles(
        a, b, fail_if or [], allow_different=allow_different, allow_unstable=allow_unstable, strict=strict
    )
    if markdown is not None:
        with disk_errors(markdown, "give another file for --markdown", kind=UsageError):
            write_file(markdown, markdown_from_comparison(comparison))
    if github:
        append_summary(comparison, os.environ)
        for line in github_annotations(comparison):
            print(line, file=sys.stderr)
    emit(json_output, comparison.as_dict(), lambda: print_comparison(comparison))
    if comparison.error is not None:
        error_told(f"error: {comparison.error}")
        raise typer.Exit(comparison.error.exit_code)
