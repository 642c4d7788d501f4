"""How results look on a terminal: rich tables on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from edgeexport.backends.contract import EngineRecord
from edgeexport.errors import plain_text
from edgeexport.report.checks_view import range_text, rtx_scope
from edgeexport.report.engine_text import engine_text
from edgeexport.report.graph_figures import figures_of_graphs
from edgeexport.report.merge_text import merge_text
from edgeexport.report.plugin_text import library_text
from edgeexport.terminal.graph_list import print_decoding, print_graphs
from edgeexport.terminal.kernels import print_pays, print_pays_table
from edgeexport.terminal.output import print_line, results_console

if TYPE_CHECKING:
    from edgeexport.backends.engine import EngineResult
    from edgeexport.calibration.calibrate_delay import DelayCalibration
    from edgeexport.commands.build import BuildResult
    from edgeexport.commands.doctor import Doctor
    from edgeexport.commands.lint import LintResult
    from edgeexport.commands.run import Predictions
    from edgeexport.commands.verify import VerifyResult
    from edgeexport.verify.compare import Comparison

__all__ = [
    "print_build",
    "print_delay",
    "print_doctor",
    "print_engine",
    "print_inspection",
    "print_lint",
    "print_predictions",
    "print_recipes",
    "print_tokens",
    "print_verify",
]

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
        table.add_row(Text(name, "bold"), description)
    results_console.print(table)
    print_line(f"in {folder}", "dim")


def print_tokens(name: str, tokens: dict[str, Any]) -> None:
    """Token schedule and multiply-accumulates."""
    table = Table(title=f"{name}: tokens and multiply-accumulates (computed)", title_justify="left")
    policy, totals, heads = tokens["policy_network"]["macs"], tokens["totals"], tokens["heads"]
    matching = any(block["macs"].get("matching") for block in tokens["blocks"])
    columns = [
        "step",
        "tokens in",
        "tokens out",
        "GMAC",
        *(["of it matching"] if matching else []),
        "dense GMAC",
        "why",
    ]
    for column in columns:
        table.add_column(column, justify="left" if column in ("step", "why") else "right")

    def add(step: str, entry: dict[str, Any], entering: object = "", leaving: object = "", why: str = "") -> None:
        matched = entry.get("matching")
        share = [("< 0.001" if matched < 500_000 else _giga(matched)) if matched else ""] if matching else []
        dense = _giga(entry["dense_macs"]) if "dense_macs" in entry else ""
        table.add_row(step, str(entering), str(leaving), _giga(entry["macs"]), *share, dense, why)

    if policy:
        add("policy network", {"macs": policy, "dense_macs": 0}, why="scores windows")
    embedding, prefix = tokens["embedding"], tokens.get("num_prefix", 0)
    if embedding["macs"]:
        why = f"and {prefix} prefix token{'s' if prefix > 1 else ''}" if prefix else ""
        add("patch embedding", embedding, leaving=embedding["tokens"], why=why)
    for block in tokens["blocks"]:
        number, macs = block["block"], block["macs"]
        costs = {"macs": macs["total"], "matching": macs.get("matching"), "dense_macs": block["dense_macs"]}
        add(f"block {number}", costs, block["tokens_in"], block["tokens_out"], block["reason"])
        for head in heads:
            if head["blocks"][0] == number:
                add(f"  {head['name']}", head, head["tokens"])
    for step, key in (("final norm", "final_norm"), ("tail", "tail")):
        if tokens[key]["macs"]:
            add(step, tokens[key])
    table.add_section()
    add("total", totals, why="with policy network" if policy else "")
    if policy:
        add("", {"macs": totals["macs_without_policy"]}, why="without")
    results_console.print(table)
    if windows := tokens.get("windows"):
        size = " x ".join(map(str, windows["size"]))
        results_console.print(f"{windows['count']} windows of {size}: tokens are one window's, MACs all windows'")
    ratio = f"dense / reduced: {totals['dense_over_reduced']:.3f}"
    results_console.print(ratio + (" with policy network" if policy else ""))
    if tokens.get("merging"):
        _print_merging(tokens["merging"])


def _print_merging(merging: dict[str, Any]) -> None:
    """How many tokens merge, and where that is less than the recipe asks for."""
    requested, realised = merging["requested"], merging["realised"]
    text = f"{merging['method']}: {sum(realised)} tokens merged"
    short = [str(block) for block, (a, b) in enumerate(zip(requested, realised, strict=True), start=1) if a != b]
    if short:
        text += (
            f" of {sum(requested)} asked; fewer than asked in block{'s' if len(short) > 1 else ''} {', '.join(short)}"
        )
    results_console.print(text, soft_wrap=True)


def print_build(result: BuildResult) -> None:
    """Summary of a finished build."""
    manifest = result.bundle.manifest
    checks = manifest["checks"]
    if result.bundle.prompt is not None:
        _print_comparisons(result.comparisons)
        print_graphs(manifest, figures_of_graphs(result.bundle))
        took = f"{sum(result.seconds.values()):.1f} s, {result.peak_bytes / 1e9:.1f} GB at most"
        engine = engine_text(result.engine) if result.engine else f"not built: {result.no_engine}"
        _print_pairs([("bundle", str(result.bundle.path)), ("engine", engine), ("took", took)])
        return
    totals = result.bundle.json("tokens.json")["totals"]
    print_pays(manifest.get("pays"), manifest["precision"])
    _print_comparisons(result.comparisons)
    print_pays_table(manifest.get("pays"))
    tail, rtx = checks["tail"], checks["tensorrt_rtx"]
    lines: list[tuple[str, str | Text]] = [
        ("bundle", str(result.bundle.path)),
        ("weights", manifest["weights"]["statement"]),
        ("compute", f"{_giga(totals['macs'])} GMAC, dense {_giga(totals['dense_macs'])} (computed)"),
        ("parity", _status(checks["parity"]["status"])),
        ("TensorRT-RTX", _rtx_status(rtx)),
        ("plugins", library_text(manifest.get("plugin_library"), manifest["target"]) or "none"),
        ("engine", engine_text(result.engine) if result.engine else f"not built: {result.no_engine}"),
        ("report", str(result.bundle.path / "report.html")),
        ("took", f"{sum(result.seconds.values()):.1f} s, {result.peak_bytes / 1e9:.1f} GB at most"),
    ]
    if tail["form"] == "fast":
        pixels = f"{tail['candidates']} candidates, {tail['uncertified_pixels']} uncertified pixels in {tail['images']} images"
        lines.insert(3, ("class map", pixels))
    if manifest.get("merges"):
        lines.insert(3, ("merging", merge_text(manifest["merges"])))
    _print_pairs(lines)


def print_engine(result: EngineResult) -> None:
    """A finished engine, and what to do with it."""
    record, folder = result.record, result.bundle.path
    _print_pairs(
        [
            ("bundle", str(folder)),
            ("engine", engine_text(record)),
            ("files", ", ".join(record.files)),
            ("took", f"{record.build_seconds:.1f} s, {record.provenance}"),
            ("next", f"edgeexport verify {folder}"),
        ]
    )


def print_inspection(facts: dict[str, Any]) -> None:
    """What is known of a bundle or an ONNX file."""
    if "graphs" in facts:
        print_graphs(facts, facts["figures"])
        print_decoding(facts["decoding"])
        _print_pairs([("engine", engine_text(facts["engine"] and EngineRecord.from_dict(facts["engine"])))])
        return
    if "tokens" in facts:
        print_pays(facts.get("pays"), facts["precision"])
        shown = ("name", "description", "target", "precision", "edgeexport")
        pairs: list[tuple[str, str | Text]] = [(key, str(facts[key])) for key in shown]
        pairs.append(("weights", facts["weights"]["statement"]))
        if facts.get("policy"):
            given = facts["policy"]["output"]["name"]
            pairs.append(("policy network", f"a graph of its own, policy.onnx: gives {given} to model.onnx"))
        engine = facts["engine"]
        pairs.append(("engine", engine_text(engine and EngineRecord.from_dict(engine))))
        for name, check in facts["checks"].items():
            status = check.get("status", check.get("form", ""))
            if name == "tensorrt_rtx":
                pairs.append((f"check {name}", _rtx_status(check)))
            elif status != "none":  # no class map, so no tail to check
                more = range_text(check) if name == "float16_range" else ""
                pairs.append((f"check {name}", _status(status, more)))
        _print_pairs(pairs)
        print_tokens(facts["name"], facts["tokens"])
        print_pays_table(facts.get("pays"))
    else:
        pairs = [(key, str(facts[key])) for key in ("model", "nodes", "static", "custom_ops")]
        macs = facts["macs"]
        text = f"{_giga(macs['product'])} GMAC in products" if macs else f"unknown: {facts['macs_unknown']}"
        _print_pairs([*pairs, ("compute", text)])
    if facts["operators"]:
        counts = sorted(facts["operators"].items(), key=lambda item: (-item[1], item[0]))
        results_console.print("operators: " + ", ".join(f"{name} {count}" for name, count in counts))


def print_lint(result: LintResult) -> None:
    """Findings of a lint, errors first; and what TensorRT-RTX says of the graph, where it was asked."""
    report, fixed, rtx = result.report, result.fixed, result.tensorrt
    if fixed is not None:
        print_line(
            f"{fixed.path}: written; its outputs differ from the original's by {fixed.largest_difference:.1e} at most"
        )
    for finding in sorted(report.findings, key=lambda item: item.severity):
        style = "bold red" if finding.severity == "error" else "yellow"
        severity = Text(finding.severity, style)
        results_console.print(Text.assemble(severity, f" {plain_text(str(finding))}"), soft_wrap=True)
        if finding.remedy:
            print_line(f"      {finding.remedy}", "dim")
    verdict = ("static", "green") if report.ok else (f"{len(report.errors)} errors", "bold red")
    counts = f": {report.node_count} nodes, {report.value_count} values, opset {report.opset}"
    results_console.print(Text.assemble(verdict, counts))
    if rtx is not None:
        answer = Text.assemble(f"TensorRT-RTX {rtx.version or ''}: ", _status(rtx.status, rtx.reason))
        results_console.print(answer, soft_wrap=True)


def print_verify(result: VerifyResult) -> None:
    """Every comparison of a verification."""
    _print_comparisons(result.comparisons)
    executed = result.executed
    results_console.print(f"executed: {f'{executed.engine} in ' if executed else ''}{result.runner}")
    if executed is not None and executed.engine_not_run:
        text = f"not executed: {executed.engine_not_run}, the bundle's engine: nothing here is said of it"
        print_line(text, "bold yellow")
    if result.original_not_run:
        print_line(f"original not run: {result.original_not_run}", "yellow")
    results_console.print(_status(result.status, result.explanation and f"({result.explanation})"), soft_wrap=True)


def print_predictions(predictions: Predictions) -> None:
    """Whether the reduction pays, where the pictures are, and the leading classes."""
    if predictions.pays is not None:
        style = "yellow" if predictions.pays.warns else None
        results_console.print(predictions.pays.text, style=style, soft_wrap=True, markup=False)
    for item in predictions.images:
        pictures = ", ".join(str(path) for path in item.pictures)
        line = f"{item.image}: {pictures}" if pictures else str(item.image)
        print_line(line)
        print_line(f"    {item.summary}", "dim")
    for film in predictions.films:
        print_line(f"{film.film}: {film.frames} frames" + (f", {film.picture}" if film.picture is not None else ""))
    if predictions.notice:
        print_line(predictions.notice, "yellow")


def print_delay(calibration: DelayCalibration) -> None:
    """Token similarity by block, and the delay that it suggests."""
    evidence = calibration.evidence
    table = Table(title=f"{calibration.recipe}: mean cosine of token pairs (measured)", title_justify="left")
    for column in ("block", "mean", "std"):
        table.add_column(column, justify="right")
    for block, (mean, deviation) in enumerate(zip(evidence.mean, evidence.similarity.std(axis=0), strict=True)):
        table.add_row(str(block) if block else "embedding", f"{mean:.4f}", f"{deviation:.4f}")
    results_console.print(table)
    per_image = ", ".join(map(str, evidence.delay_per_image))
    proposal = str(evidence.delay) if evidence.rises else f"{evidence.delay}: similarity rises in no block"
    written = [
        str(path)
        for path in (calibration.files.plot, calibration.files.evidence, calibration.files.recipe)
        if path is not None
    ]
    _print_pairs(
        [
            ("delay", proposal),
            ("per image", per_image),
            ("images", ", ".join(evidence.images)),
            ("weights", calibration.weights),
            ("written", ", ".join(written)),
        ]
    )
    if calibration.random_weights:
        results_console.print("random weights: the similarity of a trained model is another", style="yellow")


def print_doctor(examination: Doctor) -> None:
    """What a machine has, and what each target needs."""
    from edgeexport.commands.doctor import rows_from_doctor

    for title, rows in rows_from_doctor(examination):
        results_console.print(title, style="bold")
        _print_pairs(rows)


def _print_comparisons(comparisons: Sequence[Comparison]) -> None:
    table = Table()
    for column in ("check", "images", "status", "largest error", "class maps equal", "decisions"):
        table.add_column(column)
    for item in comparisons:
        errors = [output.max_abs for output in item.outputs if output.max_abs is not None]
        maps = [output.agreement for output in item.outputs if output.agreement is not None]
        equal = sum(decision.equal for decision in item.decisions)
        followed = ", near ties followed" if "near ties followed" in item.facts else ""
        table.add_row(
            f"{item.check}",
            ", ".join(item.images),
            _status(item.status, item.reason),
            f"{max(errors):.1e}" if errors else "",
            f"{min(maps):.4%}" if maps else "",
            f"{equal} of {len(item.decisions)} equal{followed}" if item.decisions else "",
        )
    results_console.print(table)


def _print_pairs(pairs: Sequence[tuple[str, str | Text]]) -> None:
    """Two columns; plain strings are shown as they are, brackets included."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value if isinstance(value, Text) else plain_text(value))
    results_console.print(table)


def _status(status: str, more: str = "") -> Text:
    return Text.assemble((status, _STYLE.get(status, "")), f" {plain_text(more)}" if more else "")


def _rtx_status(check: Mapping[str, Any]) -> Text:
    """Amber where the graph that is deployed is not the one that was built."""
    version = str(check["version"] or "")
    if check["status"] != "passed":
        return _status(check["status"], f"{check['reason'] or ''} {version}".strip())
    style = _STYLE["passed" if check.get("deployed_graph", True) else "incomplete"]
    return Text.assemble((check["status"], style), plain_text(f" {version}: {rtx_scope(check)}"))


def _giga(macs: int) -> str:
    return f"{macs / 1e9:.3f}"
