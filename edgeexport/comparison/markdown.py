"""A comparison as Markdown, for a pull request or a job's summary."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexport.comparison.compare import BundleComparison
from edgeexport.comparison.metrics import BundleFigures

__all__ = ["markdown_from_comparison", "number_text"]

_OUTCOMES = {"failed": "**failed**", "ok": "ok", "undecided": "no difference shown"}


def markdown_from_comparison(comparison: BundleComparison) -> str:
    """Verdict, conditions, figures, and what differs in build and measurement."""
    return "\n".join(_lines(comparison)) + "\n"


def number_text(value: float | None) -> str:
    """For people: whole numbers with groups of three digits, others with six significant ones; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def _lines(comparison: BundleComparison) -> Iterator[str]:
    yield f"## edgeexport compare: {_verdict(comparison)}"
    yield ""
    for side, figures, name in zip("AB", (comparison.a, comparison.b), comparison.names, strict=True):
        yield f"- {side}: {_cell(str(figures.bundle.path))} ({_described(figures, name)})"
    if comparison.conditions:
        yield from ("", "| Fails if | Result | Values |", "|---|---|---|")
        for item in comparison.conditions:
            yield f"| {_cell(item.condition.text)} | {_OUTCOMES[item.outcome]} | {_escaped(item.found)} |"
    yield from ("", "| Metric | A | B | B / A | From |", "|---|---:|---:|---:|---|")
    for name in comparison.shown:
        a, b = comparison.a.metrics.get(name), comparison.b.metrics.get(name)
        some = b or a
        assert some is not None
        values = [None if metric is None else metric.value for metric in (a, b)]
        texts = [number_text(value) for value in (*values, comparison.ratio(name))]
        yield f"| {_cell(name)} | {' | '.join(texts)} | {_escaped(some.source)}, {_escaped(some.provenance)} |"
    if comparison.latency is not None:
        change = comparison.latency
        yield ""
        yield (
            f"Compute time, B / A: {change.ratio:.4f} ({change.low:.4f} to {change.high:.4f}, {change.confidence:.0%} "
            f"interval): {change.verdict}. {change.samples[0]} and {change.samples[1]} samples, {change.method}."
        )
        besides = [_escaped(str(item)) for item in comparison.differences if item.speed]
        if besides:
            yield f"Not of the models alone: {'; '.join(besides)}."
    if comparison.differences:
        yield from ("", "Different in A and B:", "")
        for difference in comparison.differences:
            warning = " **(measured figures are not comparable)**" if difference.decisive else ""
            yield f"- {_escaped(str(difference))}{warning}"


def _verdict(comparison: BundleComparison) -> str:
    if not comparison.conditions:
        return "no conditions"
    total = len(comparison.conditions)
    if comparison.failed:
        return f"{len(comparison.failed)} of {total} conditions failed"
    if comparison.undecided:
        return f"no difference shown, {len(comparison.undecided)} of {total} conditions undecided"
    return f"passed, {total} conditions"


def _described(figures: BundleFigures, name: str) -> str:
    manifest, bench = figures.bundle.manifest, figures.bench
    facts = [name, str(manifest.get("target")), str(manifest.get("precision"))]
    device = bench.get("device") if bench is not None else None
    if device:
        board = (device.get("jetson") or {}).get("model")
        facts.append(f"measured on {board or device.get('name')}")
    elif bench is None:
        facts.append("not profiled")
    return _escaped(", ".join(facts))


def _cell(text: str) -> str:
    """As code; a fence longer than any run of backticks inside, and bars that do not end a table's cell."""
    longest = max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    flat = " ".join(text.split()).replace("|", "\\|")
    return f"{fence}{pad}{flat}{pad}{fence}"


def _escaped(text: str) -> str:
    flat = " ".join(text.split())
    return "".join(f"\\{character}" if character in "\\`*_[]<>|" else character for character in flat)
