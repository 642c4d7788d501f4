"""Whether every value of a graph has a constant shape and a known element type, and if not, where that starts.

One dynamic input makes hundreds of values dynamic. Reported are the causes alone: graph inputs, and nodes whose inputs are
all constant-shaped while an output is not; each with the number of values that follow from it. A value follows also where a
size travels as a number (Shape, Gather, Concat, then Expand or Reshape).
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgeexport.graph.lint_report import LintFinding
from edgeexport.graph.operator_rules import node_label
from edgeexport.graph.source import source_of_node

__all__ = ["ShapeCauses", "boundary_findings", "float64_findings", "shape_causes", "shape_findings", "value_types"]

_TYPES = onnx.TensorProto
_SIZES = frozenset({"Shape", "Size"})
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


@dataclass(frozen=True)
class ShapeCauses:
    """Where dynamic shapes come from.

    Attributes:
        problems: By name of a value, what is wrong with its shape or type.
        cause: By name of a value, the value where it started: itself, or another one that it follows from. Sizes that are
            computed from a dynamic value are here too, although their own shape is constant.
    """

    problems: dict[str, _Problem]
    cause: dict[str, str]

    def consequences(self, origin: str) -> str:
        """How many values follow from one, as the end of a message."""
        counts = Counter(self.cause[name] for name in self.problems)
        count = counts[origin] - 1
        return f"; {count} value{'s' if count > 1 else ''} computed from it inherit that" if count else ""


def value_types(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    """Types of constants, graph inputs, node outputs and graph outputs, as far as they are recorded."""
    constants = {
        tensor.name: onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        for tensor in graph.initializer
    }
    return constants | {
        value.name: value.type for group in (graph.value_info, graph.input, graph.output) for value in group
    }


def shape_causes(
    graph: onnx.GraphProto, inputs: Iterable[onnx.ValueInfoProto], types: dict[str, onnx.TypeProto]
) -> ShapeCauses:
    """Follows every dynamic value to where it starts.

    Args:
        graph: With inferred shapes, nodes in order.
        inputs: Its real inputs: no initializers, no placeholders of weights.
        types: Of every value, as far as they are known.
    """
    problems: dict[str, _Problem] = {}
    cause: dict[str, str] = {}
    for value in inputs:
        problem = _problem(types.get(value.name))
        if problem is not None:
            problems[value.name], cause[value.name] = problem, value.name
    for node in graph.node:
        origin = next((cause[name] for name in node.input if name in cause), None)
        is_size = node.op_type in _SIZES or any(name in cause and name not in problems for name in node.input)
        for output in filter(None, node.output):
            problem = _problem(types.get(output))
            if problem is not None:
                problems[output], cause[output] = problem, origin or output
                origin = origin or output
            elif origin is not None and is_size:
                cause[output] = origin
    return ShapeCauses(problems, cause)


def shape_findings(
    graph: onnx.GraphProto,
    inputs: Iterable[onnx.ValueInfoProto],
    causes: ShapeCauses,
    explained: frozenset[str],
    path: str,
) -> Iterator[LintFinding]:
    """One finding for each cause.

    Args:
        graph: With inferred shapes.
        inputs: Its real inputs.
        causes: Of `shape_causes`.
        explained: Outputs of nodes that another rule already reports; their dynamic shapes are not reported again.
        path: The model's file, for the remedy.
    """
    dynamic = [value for value in inputs if value.name in causes.problems]
    remedy = _fixed_inputs(dynamic, path) if dynamic else ""
    for value in dynamic:
        problem = causes.problems[value.name]
        text = problem.text + causes.consequences(value.name)
        yield LintFinding(problem.rule, "error", value.name, "input", "", text, remedy)
    for node in graph.node:
        origin = next((output for output in node.output if causes.cause.get(output) == output), None)
        if origin is None or explained.intersection(node.output):
            continue
        problem = causes.problems[origin]
        yield LintFinding(
            problem.rule,
            "error",
            node_label(node),
            f"{node.domain}::{node.op_type}" if node.domain else node.op_type,
            source_of_node(node),
            f"output '{origin}' {problem.text}" + causes.consequences(origin),
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


def float64_findings(graph: onnx.GraphProto, types: dict[str, onnx.TypeProto]) -> Iterator[LintFinding]:
    """One warning for all float64 values inside the graph."""
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
    declare = "export it without what has no inferable shape, or record the shape in the model's value_info"
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


def _fixed_inputs(dynamic: list[onnx.ValueInfoProto], path: str) -> str:
    """A command that makes all of them static; sizes that only the user knows stand in it by name."""
    if not all(value.type.tensor_type.HasField("shape") for value in dynamic):
        return "export the model with a fixed input shape"
    shapes, open_sizes = [], []
    for value in dynamic:
        dims = []
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            known = str(dim.dim_value) if dim.dim_value > 0 else "1"
            if dim.dim_value <= 0 and index:
                known = dim.dim_param.upper() or f"SIZE_{index}"
                open_sizes.append(known)
            dims.append(known)
        given = f"{value.name}={','.join(dims)}"
        shapes.append(f"--input-shape {shlex.quote(given)}")
    file = Path(path)
    target = shlex.quote(str(file.with_name(f"{file.stem}_static{file.suffix}")))
    command = f"edgeexport lint {shlex.quote(path)} --fix {target} {' '.join(shapes)}"
    numbers = f", with numbers for {', '.join(dict.fromkeys(open_sizes))}" if open_sizes else ""
    return f"export without dynamic_shapes (dynamic_axes), or fix the shape{numbers}: {command}"


def _type_name(element: int) -> str:
    return str(_TYPES.DataType.Name(element)).lower().replace("double", "float64")
