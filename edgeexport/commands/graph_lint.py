"""The lint of several graphs as one report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from edgeexport.backends.tensorrt_rtx import RtxCheck
from edgeexport.graph.lint_report import LintFinding, LintReport

__all__ = ["accepted_findings", "joined_reports", "worst_check"]

_NEWEST_OF_JETPACK_6 = 20


def accepted_findings(opset: int, report: LintReport) -> tuple[list[LintFinding], list[str]]:
    """Errors that stand, and rules whose findings are meant: 64-bit ids, positions and masks, as ONNX Runtime GenAI feeds
    them, and opset 24 where the recipe asks for its operators (JetPack 7.2).
    """
    meant = {"boundary-dtype"} | ({"opset"} if opset > _NEWEST_OF_JETPACK_6 else set())
    standing = [item for item in report.findings if item.severity == "error" and item.rule not in meant]
    return standing, sorted({item.rule for item in report.findings if item.rule in meant})


def joined_reports(model: str, reports: Sequence[LintReport], opsets: Sequence[int]) -> LintReport:
    """One report of all graphs; what is meant becomes a warning."""
    findings: dict[LintFinding, None] = {}
    counts: Counter[str] = Counter()
    for report, opset in zip(reports, opsets, strict=True):
        standing, meant = accepted_findings(opset, report)
        for item in report.findings:
            accepted = item.rule in meant and item not in standing
            findings[replace(item, severity="warning") if accepted else item] = None
        counts.update(report.op_counts)
    return replace(
        reports[0],
        model=model,
        opset=max(opsets),
        findings=tuple(findings),
        node_count=sum(report.node_count for report in reports),
        value_count=sum(report.value_count for report in reports),
        op_counts=dict(sorted(counts.items())),
    )


def worst_check(checks: Sequence[RtxCheck]) -> RtxCheck | None:
    """The verdict that decides; None where TensorRT-RTX was not asked."""
    order = ("failed", "not-run", "passed")
    return min(checks, key=lambda check: order.index(check.status)) if checks else None
