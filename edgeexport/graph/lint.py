"""Static lint: would this graph stay static, and would the target's TensorRT parse it?

Operators are judged on the graph as given, function bodies and nested graphs included; shapes and constants on the
graph as a runtime sees it, with functions inlined and constants folded. Weights are not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx

from edgeexport.errors import EdgeExportError, UsageError
from edgeexport.graph.inline import folded_skeleton
from edgeexport.graph.lint_report import LintFinding, LintReport
from edgeexport.graph.operator_rules import FORBIDDEN, STANDARD_DOMAINS, constant_rules, operator_rules
from edgeexport.graph.parser_rules import attribute_findings, typed_findings
from edgeexport.graph.skeleton import Skeleton, skeleton_from_model
from edgeexport.graph.static_shapes import (
    boundary_findings,
    float64_findings,
    shape_causes,
    shape_findings,
    value_types,
)
from edgeexport.ops.onnx_reading import model_from_file

__all__ = ["MAX_OPSET", "LintFinding", "LintReport", "lint_model"]

MAX_OPSET = 20
"""Newest opset that TensorRT 10.3 (JetPack 6) reads."""

_TENSORRT_RULES = frozenset(
    {
        "boundary-dtype",
        "constant-input",
        "dimensions",
        "discouraged-operator",
        "float64",
        "opset",
        "scatter-reduction",
        "topk-limit",
        "uint8-operator",
        "unsupported-attribute",
        "unsupported-operator",
        "unsupported-type",
        "zero-point",
    }
)
_NEED_CONSTANTS = frozenset({"topk-constant-k", "constant-input", "data-dependent-shape"})


def lint_model(
    model: onnx.ModelProto | Path, *, target: str | None = None, allowed_ops: frozenset[str] = frozenset()
) -> LintReport:
    """Checks that a graph is static and made of what TensorRT parses. The model is unchanged, its weights stay unread.

    Args:
        model: A model, or the path of an ONNX file (external data must be there, and is not loaded).
        target: 'cpu' (ONNX Runtime) turns errors that only TensorRT makes into warnings; anything else is taken for
            a target with TensorRT.
        allowed_ops: Custom operators, as ``domain::Op``, that may stand without a function body: a plugin has them.

    Raises:
        UsageError: The path is not a readable ONNX model or damaged, or its external data is incomplete.
    """
    if not isinstance(model, Path):
        return _report(skeleton_from_model(model), "model.onnx", model.graph.name or "model", target, allowed_ops)
    read = model_from_file(model)
    try:
        skeleton = skeleton_from_model(read, base_dir=model.parent)
        return _report(skeleton, str(model), str(model), target, allowed_ops)
    except EdgeExportError:
        raise
    except (
        Exception
    ) as error:  # protobuf's and onnx's, of what lies in a damaged file: names that are no text, odd types
        problem = f"is damaged: {' '.join(str(error).split())}"
        raise UsageError(str(model), problem, "export or copy the model again") from error


def _report(skeleton: Skeleton, path: str, label: str, target: str | None, allowed_ops: frozenset[str]) -> LintReport:
    graph = skeleton.model.graph
    known = frozenset(skeleton.order) | skeleton.placeholders
    inputs = [value for value in graph.input if value.name not in known]
    opset = max((item.version for item in skeleton.model.opset_import if item.domain in STANDARD_DOMAINS), default=0)

    findings = list(_model_rules(skeleton, opset))
    for scope, node, has_body in _all_nodes(skeleton.model):
        findings += operator_rules(node, scope, has_body or f"{node.domain}::{node.op_type}" in allowed_ops)
        findings += attribute_findings(node, scope)
    findings += boundary_findings(inputs, graph.output)
    seen = _runtime_view(skeleton, findings)
    if seen is not None:
        findings += _runtime_rules(seen.graph, skeleton, inputs, path)
        graph = seen.graph
        found = {(item.rule, item.node) for item in findings}
        findings += [item for item in _parser_rules(skeleton) if (item.rule, item.node) not in found]
    if target == "cpu":
        findings = [replace(item, severity="warning") if item.rule in _TENSORRT_RULES else item for item in findings]
    counts = Counter(
        node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}::{node.op_type}" for node in graph.node
    )
    values = len(inputs) + sum(1 for node in graph.node for output in node.output if output)
    return LintReport(label, target, opset, tuple(findings), len(graph.node), values, dict(sorted(counts.items())))


def _model_rules(skeleton: Skeleton, opset: int) -> Iterator[LintFinding]:
    """Findings about the model as a whole."""
    if opset > MAX_OPSET:
        yield _model_finding(
            "opset",
            f"opset {opset}, TensorRT 10.3 reads up to {MAX_OPSET}",
            f"export with opset_version={MAX_OPSET}, or convert with onnx.version_converter",
        )
    if skeleton.model.graph.sparse_initializer:
        yield _model_finding(
            "invalid-graph", "sparse weights, expected dense ones", "store the weights as dense tensors"
        )
    try:
        onnx.checker.check_model(skeleton.model)
    except (onnx.checker.ValidationError, ValueError) as error:  # ValueError: protobuf's
        yield _invalid(error)


def _all_nodes(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.NodeProto, bool]]:
    """(function or '', node, whether the model has its body) for each node of the graph and of the bodies it calls."""
    bodies = {(function.domain, function.name, function.overload): function for function in model.functions}
    called: dict[tuple[str, str, str], None] = {}

    def walk(scope: str, nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, onnx.NodeProto, bool]]:
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            if key in bodies:
                called[key] = None
            yield scope, node, key in bodies
            for attribute in node.attribute:
                for nested in (attribute.g, *attribute.graphs):
                    yield from walk(scope, nested.node)

    yield from walk("", model.graph.node)
    done: set[tuple[str, str, str]] = set()
    while waiting := [key for key in called if key not in done]:
        for key in waiting:
            done.add(key)
            yield from walk(bodies[key].name, bodies[key].node)


def _runtime_view(skeleton: Skeleton, findings: list[LintFinding]) -> onnx.ModelProto | None:
    """The graph inlined, folded, its shapes inferred; None where it cannot be judged. Failures become findings."""
    known_invalid = any(finding.rule == "invalid-graph" for finding in findings)
    try:
        folded = folded_skeleton(skeleton.model)
    except (
        Exception
    ) as error:  # whatever a foreign graph makes the passes raise is a finding, never a crash of the lint
        if not known_invalid:
            findings.append(_invalid(error))
        return None
    try:
        return onnx.shape_inference.infer_shapes(folded, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        if not known_invalid:
            findings.append(_invalid(error))
    try:
        return onnx.shape_inference.infer_shapes(folded, data_prop=True)
    except Exception:
        return folded


def _runtime_rules(
    graph: onnx.GraphProto, skeleton: Skeleton, inputs: list[onnx.ValueInfoProto], path: str
) -> list[LintFinding]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    types = value_types(graph)
    causes = shape_causes(graph, inputs, types)
    not_judged = skeleton.weights.keys() | causes.cause.keys()  # unread, or a dynamic input's fault, said there
    findings: list[LintFinding] = []
    explained: set[str] = set()
    for node in graph.node:
        node_findings = list(constant_rules(node, constants, not_judged))
        findings += node_findings
        forbidden = node.op_type in FORBIDDEN and node.domain in STANDARD_DOMAINS
        if forbidden or any(finding.rule in _NEED_CONSTANTS for finding in node_findings):
            explained.update(node.output)
    findings += shape_findings(graph, inputs, causes, frozenset(explained), path)
    findings += float64_findings(graph, types)
    findings += typed_findings(graph, types)
    return findings


def _parser_rules(skeleton: Skeleton) -> Iterator[LintFinding]:
    """What is wrong with the graph as it is given: a parser sees also what folding would take away."""
    try:
        graph = onnx.shape_inference.infer_shapes(skeleton.model, data_prop=True).graph
    except Exception:
        graph = skeleton.model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    others = {name for node in graph.node for name in node.input if name not in constants}
    for node in graph.node:
        yield from constant_rules(node, constants, others)
    yield from typed_findings(graph, value_types(graph))


def _invalid(error: BaseException) -> LintFinding:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = "not a valid ONNX graph: " + (" ".join(lines) or type(error).__name__)
    return _model_finding("invalid-graph", message, "export the model again, or repair it (onnx.checker.check_model)")


def _model_finding(rule: str, message: str, remedy: str) -> LintFinding:
    return LintFinding(rule, "error", "", "", "", message, remedy)
