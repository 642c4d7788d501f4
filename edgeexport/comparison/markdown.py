"""A comparison as Markdown, for a pull request or a job's summary."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexport.comparison.compare import BundleComparison
from edgeexport.comparison.metrics import BundleFigures

__all__ = ["markdown_from_comparison", "number_text"]


def markdown_from_comparison(found: BundleComparison) -> str:
    """Verdict, conditions, figures, and what differs in build and measurement."""
    return "\n".join(_lines(found)) + "\n"


def number_text(value: float | None) -> str:
    """For people: whole numbers with groups of three digits, others with six significant ones; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def _lines(found: BundleComparison) -> Iterator[str]:
    yield f"## edgeexport compare: {_verdict(found)}"
    yield ""
    yield f"- A: {_cell(str(found.a.bundle.path))} ({_described(found.a)})"
    yield f"- B: {_cell(str(found.b.bundle.path))} ({_described(found.b)})"
    if found.conditions:
        yield from ("", "| Fails if | Result | Values |", "|---|---|---|")
        for item in found.conditions:
            yield f"| {_cell(item.condition.text)} | {'**failed**' if item.failed else 'ok'} | {_escaped(item.found)} |"
    yield from ("", "| Metric | A | B | B / A | From |", "|---|---:|---:|---:|---|")
    for name in found.shown:
        a, b = found.a.metrics.get(name), found.b.metrics.get(name)
        some = b or a
        assert some is not None
        values = [None if metric is None else metric.value for metric in (a, b)]
        texts = [number_text(value) for value in (*values, found.ratio(name))]
        yield f"| {_cell(name)} | {' | '.join(texts)} | {_escaped(some.source)}, {_escaped(some.provenance)} |"
    if found.latency is not None:
        change = found.latency
        yield ""
        yield (
            f"Compute time, B / A: {change.ratio:.4f} ({change.low:.4f} to {change.high:.4f}, {change.confidence:.0%} "
            f"interval): {change.verdict}. {change.samples[0]} and {change.samples[1]} samples, {change.method}."
        )
        besides = [_escaped(str(item)) for item in found.differences if item.speed]
        if besides:
            yield f"Not of the models alone: {'; '.join(besides)}."
    if found.differences:
        yield from ("", "Different in A and B:", "")
        for difference in found.differences:
            warning = " **(measured figures are not comparable)**" if difference.decisive else ""
            yield f"- {_escaped(str(difference))}{warning}"


def _verdict(found: BundleComparison) -> str:
    if not found.conditions:
        return "no conditions"
    total = len(found.conditions)
    return f"{len(found.failed)} of {total} conditions failed" if found.failed else f"passed, {total} conditions"


def _described(figures: BundleFigures) -> str:
    manifest, bench = figures.bundle.manifest, figures.bench
    parts = [figures.bundle.name, str(manifest.get("target")), str(manifest.get("precision"))]
    device = bench.get("device") if bench is not None else None
    if isinstance(device, dict):
        board = (device.get("jetson") or {}).get("model")
        parts.append(f"measured on {board or device.get('name')}")
    elif bench is None:
        parts.append("not profiled")
    return _escaped(", ".join(parts))


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
