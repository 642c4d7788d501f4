"""What the static lint found: frozen dataclasses, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edgeexport.errors import LintError

__all__ = ["LintFinding", "LintReport"]

_NAMED_IN_ERROR = 3


@dataclass(frozen=True)
class LintFinding:
    """One thing that is wrong, or may be.

    ``severity`` is 'error' or 'warning'. ``node`` is the node's name (``Function/node`` inside a function body, the
    first output's name where a node has none), or the graph input's or output's, with ``op_type`` 'input' or 'output';
    both are empty for findings about the whole model. ``source`` is file, line and code where the exporter recorded it.
    """

    rule: str
    severity: str
    node: str
    op_type: str
    source: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.op_type} '{self.node}'" if self.node else "model"
        return f"[{self.rule}] {place}{f' at {self.source}' if self.source else ''}: {self.message}"


@dataclass(frozen=True)
class LintReport:
    """Result of `edgeexport.graph.lint.lint_model`.

    ``node_count`` and ``op_counts`` describe the graph as a runtime sees it: functions inlined, constants folded;
    operators of other domains are named ``domain::Op``. ``value_count`` is how many values (graph inputs and node
    outputs) had their shape checked.
    """

    model: str
    target: str | None
    opset: int
    findings: tuple[LintFinding, ...]
    node_count: int
    value_count: int
    op_counts: dict[str, int]

    @property
    def errors(self) -> tuple[LintFinding, ...]:
        """The findings that make the model unfit."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def ok(self) -> bool:
        """True when there is no error; warnings may remain."""
        return not self.errors

    def raise_for_findings(self) -> None:
        """Does nothing when the report is ok.

        Raises:
            LintError: Lists the first errors, with the remedy of the first.
        """
        errors = self.errors
        if not errors:
            return
        more = len(errors) - _NAMED_IN_ERROR
        listed = "; ".join(str(finding) for finding in errors[:_NAMED_IN_ERROR])
        raise LintError(
            self.model,
            f"{len(errors)} lint error{'s' if len(errors) > 1 else ''}: {listed}"
            + (f"; {more} more" if more > 0 else ""),
            errors[0].remedy,
        )

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "model": self.model,
            "target": self.target,
            "ok": self.ok,
            "opset": self.opset,
            "node_count": self.node_count,
            "value_count": self.value_count,
            "op_counts": dict(self.op_counts),
            "findings": [asdict(finding) for finding in self.findings],
        }
