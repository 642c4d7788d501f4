"""Whether every value of a graph has a constant shape and a known element type, and if not, where that starts.

One dynamic input makes hundreds of values dynamic. Reported are the origins: graph inputs, and nodes whose inputs are
all constant-shaped while an output is not; each with the number of values that follow from it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx

from edgeexport.graph.lint_report import LintFinding
from edgeexport.graph.operator_rules import node_label
from edgeexport.graph.source import source_of_node

__all__ = ["boundary_findings", "float64_findings", "shape_findings", "uint8_findings", "value_types"]

_TYPES = onnx.TensorProto
_UINT8_READERS = frozenset({"Cast", "DequantizeLinear", "Shape"})
_BOUNDARY_TYPES = frozenset(
    {
        _TYPES.FLOAT,
        _TYPES.FLOAT16,
        _TYPES.BFLOAT16,
        _TYPES.INT32,
        _TYPES.INT8,
        _TYPES.UINT8,
        _TYPES.BOOL,
        _TYPES.FLOAT8E4M3FN,
    }
)


@dataclass(frozen=True)
class _Problem:
    rule: str
    text: str
    remedy: str


def value_types(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    """Types of graph inputs, node outputs and graph outputs, as far as they are recorded."""
    return {value.name: value.type for group in (graph.value_info, graph.input, graph.output) for value in group}


def shape_findings(
    graph: onnx.GraphProto, inputs: Iterable[onnx.ValueInfoProto], explained: frozenset[str], path: str
) -> Iterator[LintFinding]:
    """Findings about shapes and element types.

    Args:
        graph: With inferred shapes.
        inputs: Its real inputs: no initializers, no placeholders of weights.
        explained: Outputs of nodes that another rule already reports; their dynamic shapes are not reported again.
        path: The model's file, for the remedy.
    """
    types = value_types(graph)
    inputs = tuple(inputs)
    produced = [output for node in graph.node for output in node.output if output]
    problems: dict[str, _Problem] = {}
    for name in (*(value.name for value in inputs), *produced):
        problem = _problem(types.get(name))
        if problem is not None:
            problems[name] = problem
    for value in inputs:
        if value.name in problems:
            problem = problems[value.name]
            yield LintFinding(
                problem.rule,
                "error",
                value.name,
                "input",
                "",
                problem.text + _consequences(graph, [value.name], problems),
                _fixed_input(value, path),
            )
    for node in graph.node:
        bad = [output for output in node.output if output in problems]
        if not bad or any(name in problems for name in node.input) or explained.intersection(bad):
            continue
        problem = problems[bad[0]]
        yield LintFinding(
            problem.rule,
            "error",
            node_label(node),
            f"{node.domain}::{node.op_type}" if node.domain else node.op_type,
            source_of_node(node),
            f"output '{bad[0]}' {problem.text}" + _consequences(graph, bad, problems),
            problem.remedy,
        )


def boundary_findings(
    inputs: Iterable[onnx.ValueInfoProto], outputs: Iterable[onnx.ValueInfoProto]
) -> Iterator[LintFinding]:
    """Element types at the graph's inputs and outputs that TensorRT binds differently, or not at all."""
    for kind, group in (("input", inputs), ("output", outputs)):
        for value in group:
            element = value.type.tensor_type.elem_type
            if not value.type.HasField("tensor_type") or element in (_TYPES.UNDEFINED, *_BOUNDARY_TYPES):
                continue
            name = _type_name(element)
            if element == _TYPES.INT64:
                problem, remedy = "needs int64 bindings on the device", "int32"
            elif element == _TYPES.DOUBLE:
                problem, remedy = "TensorRT binds it as float32 without a word", "float32"
            else:
                problem, remedy = "TensorRT has no such type", "float32 or int32"
            yield LintFinding(
                "boundary-dtype",
                "error",
                value.name,
                kind,
                "",
                f"is {name}: {problem}",
                f"cast to {remedy} in the model",
            )


def uint8_findings(graph: onnx.GraphProto) -> Iterator[LintFinding]:
    """Nodes other than Cast that read uint8, such as a Transpose of the input image: TensorRT refuses them."""
    types = value_types(graph)
    for node in graph.node:
        reads = [name for name in node.input if name in types and types[name].tensor_type.elem_type == _TYPES.UINT8]
        if reads and node.op_type not in _UINT8_READERS:
            yield LintFinding(
                "uint8-operator",
                "error",
                node_label(node),
                node.op_type,
                source_of_node(node),
                f"reads '{reads[0]}' as uint8, which TensorRT takes as the input of a Cast and of nothing else",
                "cast the image to float32 first, then move or index it",
            )


def float64_findings(graph: onnx.GraphProto) -> Iterator[LintFinding]:
    """One warning for all float64 values inside the graph."""
    types = value_types(graph)
    nodes = [
        node
        for node in graph.node
        if any(types[o].tensor_type.elem_type == _TYPES.DOUBLE for o in node.output if o in types)
    ]
    if nodes:
        yield LintFinding(
            "float64",
            "warning",
            node_label(nodes[0]),
            nodes[0].op_type,
            source_of_node(nodes[0]),
            f"computes in float64, which TensorRT does in float32 ({len(nodes)} of {len(graph.node)} nodes)",
            "compute in float32, so that every runtime does the same",
        )


def _problem(value_type: onnx.TypeProto | None) -> _Problem | None:
    declare = "simplify the model (polygraphy surgeon sanitize --fold-constants), or record the shape in its value_info"
    if value_type is None or value_type.WhichOneof("value") is None:
        return _Problem("static-shape", "has a type and shape that cannot be inferred", declare)
    kind = str(value_type.WhichOneof("value")).removesuffix("_type")
    if kind != "tensor":
        return _Problem("known-dtype", f"is a {kind}, expected a tensor", "use tensors only")
    tensor = value_type.tensor_type
    if tensor.elem_type == _TYPES.UNDEFINED:
        return _Problem("known-dtype", "has an unknown element type", declare)
    if not tensor.HasField("shape"):
        return _Problem("static-shape", "has an unknown number of dimensions", declare)
    dims = [_shown_dim(dim) for dim in tensor.shape.dim]
    wrong = [index for index, dim in enumerate(tensor.shape.dim) if dim.dim_value <= 0]
    if not wrong:
        return None
    plural = "s" if len(wrong) > 1 else ""
    named = ", ".join(f"{index} ('{dims[index]}')" for index in wrong)
    empty = all(tensor.shape.dim[index].HasField("dim_value") and dims[index] == "0" for index in wrong)
    return _Problem(
        "static-shape",
        f"has shape [{', '.join(dims)}]: dimension{plural} {named} {'hold nothing' if empty else 'must be constant'}",
        "drop the empty tensor from the model"
        if empty
        else "compute the size from shapes and Python integers, never from the values of a tensor",
    )


def _shown_dim(dim: onnx.TensorShapeProto.Dimension) -> str:
    return str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?"


def _consequences(graph: onnx.GraphProto, origins: list[str], problems: dict[str, _Problem]) -> str:
    """Counts the values that inherit a problem from the origins (nodes are in topological order)."""
    reached = set(origins)
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(output for output in node.output if output in problems)
    count = len(reached) - len(origins)
    return f"; {count} value{'s' if count > 1 else ''} computed from it inherit that" if count else ""


def _fixed_input(value: onnx.ValueInfoProto, path: str) -> str:
    if not value.type.tensor_type.HasField("shape"):
        return "export the model with a fixed input shape"
    dims = [str(dim.dim_value) if dim.dim_value > 0 else "1" for dim in value.type.tensor_type.shape.dim]
    shape = shlex.quote(f"{value.name}:[{','.join(dims)}]")
    return (
        "export without dynamic_shapes (dynamic_axes), or fix the shape: polygraphy surgeon sanitize --fold-constants "
        f"--override-input-shapes {shape} -o static.onnx {shlex.quote(path)}"
    )


def _type_name(element: int) -> str:
    return str(_TYPES.DataType.Name(element)).lower().replace("double", "float64")
