"""How results look on a terminal: rich tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from edgeexport.device.doctor import Doctor
    from edgeexport.graph.lint_report import LintReport
    from edgeexport.pipeline import BuildResult
    from edgeexport.predict import Predictions
    from edgeexport.verification import VerifyResult
    from edgeexport.verify.compare import Comparison

__all__ = [
    "print_build",
    "print_doctor",
    "print_inspection",
    "print_lint",
    "print_predictions",
    "print_recipes",
    "print_tokens",
    "print_verify",
]

# Rich assumes 80 columns where there is no terminal, which breaks words in logs.
_out = Console() if sys.stdout.isatty() else Console(width=140)
_STYLE = {
    "passed": "green",
    "failed": "bold red",
    "not-applicable": "yellow",
    "not-run": "yellow",
    "incomplete": "yellow",
}


def print_recipes(recipes: Sequence[tuple[str, str]], folder: Path) -> None:
    """One line for each shipped recipe."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, description in recipes:
        table.add_row(f"[bold]{name}[/]", escape(description))
    _out.print(table)
    _out.print(f"in {folder}", style="dim", soft_wrap=True, highlight=False)


def print_tokens(name: str, tokens: dict[str, Any]) -> None:
    """Token schedule and multiply-accumulates."""
    table = Table(title=f"{name}: tokens and multiply-accumulates (computed)", title_justify="left")
    for column in ("step", "tokens in", "tokens out", "GMAC", "dense GMAC", "why"):
        table.add_column(column, justify="left" if column in ("step", "why") else "right")
    if tokens["policy_network"]["macs"]:
        table.add_row("policy network", "", "", _giga(tokens["policy_network"]["macs"]), "0.000", "scores windows")
    embedding = tokens["embedding"]
    table.add_row(
        "patch embedding", "", str(embedding["tokens"]), _giga(embedding["macs"]), _giga(embedding["dense_macs"]), ""
    )
    heads = {head["blocks"][0]: head for head in tokens["heads"]}
    for block in tokens["blocks"]:
        number = block["block"]
        table.add_row(
            f"block {number}",
            str(block["tokens_in"]),
            str(block["tokens_out"]),
            _giga(block["macs"]["total"]),
            _giga(block["dense_macs"]),
            block["reason"],
        )
        if number in heads:
            head = heads[number]
            table.add_row(
                f"  {head['name']}", str(head["tokens"]), "", _giga(head["macs"]), _giga(head["dense_macs"]), ""
            )
    table.add_row("tail", "", "", _giga(tokens["tail"]["macs"]), _giga(tokens["tail"]["dense_macs"]), "")
    totals = tokens["totals"]
    table.add_section()
    table.add_row("total", "", "", _giga(totals["macs"]), _giga(totals["dense_macs"]), "with policy network")
    table.add_row("", "", "", _giga(totals["macs_without_policy"]), "", "without")
    _out.print(table)
    _out.print(f"dense / reduced: {totals['dense_over_reduced']:.3f} with policy network", highlight=False)


def print_build(result: BuildResult) -> None:
    """Summary of a finished build."""
    manifest = result.bundle.manifest
    checks = manifest["checks"]
    totals = result.bundle.json("tokens.json")["totals"]
    _print_comparisons(result.comparisons)
    tail, rtx = checks["tail"], checks["tensorrt_rtx"]
    lines: list[tuple[str, str | Text]] = [
        ("bundle", str(result.bundle.path)),
        ("weights", manifest["weights"]["statement"]),
        ("compute", f"{_giga(totals['macs'])} GMAC, dense {_giga(totals['dense_macs'])} (computed)"),
        ("parity", _status(checks["parity"]["status"])),
        ("TensorRT-RTX", _status(rtx["status"], f"{rtx['reason'] or ''} {rtx['version'] or ''}".strip())),
        ("engine", "not built: building on the target is not in this version"),
        ("report", str(result.bundle.path / "report.html")),
        ("took", f"{sum(result.seconds.values()):.1f} s, {result.peak_bytes / 1e9:.1f} GB at most"),
    ]
    if tail["form"] == "fast":
        pixels = f"{tail['candidates']} candidates, {tail['uncertified_pixels']} uncertified pixels in {tail['images']} images"
        lines.insert(3, ("class map", pixels))
    _print_pairs(lines)


def print_inspection(found: dict[str, Any]) -> None:
    """Facts of a bundle or an ONNX file."""
    if "tokens" in found:
        shown = ("name", "description", "target", "precision", "edgeexport")
        pairs: list[tuple[str, str | Text]] = [(key, str(found[key])) for key in shown]
        pairs.append(("weights", found["weights"]["statement"]))
        for name, check in found["checks"].items():
            pairs.append((f"check {name}", _status(check.get("status", check.get("form", "")))))
        _print_pairs(pairs)
        print_tokens(found["name"], found["tokens"])
    else:
        facts = [(key, str(found[key])) for key in ("model", "nodes", "static", "custom_ops")]
        macs = found["macs"]
        text = f"{_giga(macs['product'])} GMAC in products" if macs else f"unknown: {found['macs_unknown']}"
        _print_pairs([*facts, ("compute", text)])
    if found["operators"]:
        counts = sorted(found["operators"].items(), key=lambda item: (-item[1], item[0]))
        _out.print("operators: " + ", ".join(f"{name} {count}" for name, count in counts), highlight=False)


def print_lint(report: LintReport) -> None:
    """Findings of a lint, errors first."""
    for finding in sorted(report.findings, key=lambda item: item.severity):
        style = "bold red" if finding.severity == "error" else "yellow"
        _out.print(f"[{style}]{finding.severity}[/] {escape(str(finding))}", highlight=False, soft_wrap=True)
        if finding.remedy:
            _out.print(f"      {finding.remedy}", style="dim", highlight=False, soft_wrap=True, markup=False)
    verdict = "[green]static[/]" if report.ok else f"[bold red]{len(report.errors)} errors[/]"
    _out.print(
        f"{verdict}: {report.node_count} nodes, {report.value_count} values, opset {report.opset}", highlight=False
    )


def print_verify(result: VerifyResult) -> None:
    """Every comparison of a verification."""
    _print_comparisons(result.comparisons)
    if result.original_not_run:
        _out.print(f"original not run: {result.original_not_run}", style="yellow", soft_wrap=True, markup=False)
    _out.print(_status(result.status))


def print_predictions(found: Predictions) -> None:
    """Where the pictures are, and the largest classes."""
    for item in found.images:
        _out.print(f"{item.image}: {item.overlay}, {item.labels}", highlight=False, soft_wrap=True, markup=False)
        shares = ", ".join(f"{entry.name} {entry.share:.0%}" for entry in item.classes[:6])
        _out.print(f"    {shares}", style="dim", highlight=False, soft_wrap=True, markup=False)
    if found.notice:
        _out.print(found.notice, style="yellow", soft_wrap=True, markup=False)


def print_doctor(found: Doctor) -> None:
    """What a machine has, and what each target needs."""
    from edgeexport.device.doctor import rows_from_doctor

    for title, rows in rows_from_doctor(found):
        _out.print(title, style="bold", markup=False)
        _print_pairs(rows)


def _print_comparisons(comparisons: Sequence[Comparison]) -> None:
    table = Table()
    for column in ("check", "images", "status", "largest error", "class maps equal", "decisions"):
        table.add_column(column)
    for item in comparisons:
        errors = [output.max_abs for output in item.outputs if output.max_abs is not None]
        maps = [output.agreement for output in item.outputs if output.agreement is not None]
        equal = sum(decision.equal for decision in item.decisions)
        table.add_row(
            f"{item.check}",
            ", ".join(item.images),
            _status(item.status, item.reason),
            f"{max(errors):.1e}" if errors else "",
            f"{min(maps):.4%}" if maps else "",
            f"{equal} of {len(item.decisions)} equal" if item.decisions else "",
        )
    _out.print(table)


def _print_pairs(pairs: Sequence[tuple[str, str | Text]]) -> None:
    """Two columns; plain strings are shown as they are, brackets included."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(escape(name), value if isinstance(value, Text) else escape(value))
    _out.print(table)


def _status(status: str, more: str = "") -> Text:
    return Text.assemble((status, _STYLE.get(status, "")), f" {more}" if more else "")


def _giga(macs: int) -> str:
    return f"{macs / 1e9:.3f}"
