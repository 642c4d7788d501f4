"""The mixed-precision graph: float16 where `edgeexport.graph.half_precision_policy` says so, casts at the borders.

Precision lives in the graph, since TensorRT 11 has strongly typed networks alone. Inputs and outputs keep their dtypes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from edgeexport.errors import BuildError, ParityError
from edgeexport.graph.half_precision_policy import HALF, half_nodes, is_float, keep_options, node_label
from edgeexport.graph.half_precision_weights import LARGEST, WeightLoss, half_tensor, too_large
from edgeexport.graph.weights_apart import program_of, put_weights_apart

__all__ = ["HalfPrecision", "convert_to_half", "half_precision_model"]

_FULL = ir.DataType.FLOAT
_DTYPE_NAME = {_FULL: "float32", HALF: "float16"}
_MAKES_NO_FLOAT = frozenset({"ArgMax", "ArgMin", "NonZero", "Shape", "Size"})


@dataclass(frozen=True)
class HalfPrecision:
    """What the conversion did.

    Attributes:
        nodes: Nodes of the graph, casts left out.
        half_nodes: Those of them that compute in float16.
        casts: Casts between float32 and float16.
        weights: What became of the weights.
        kept: Patterns of nodes whose results were asked to stay in float32.
    """

    nodes: int
    half_nodes: int
    casts: int
    weights: WeightLoss
    kept: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """JSON-ready, for the manifest."""
        return {
            "nodes": self.nodes,
            "half_nodes": self.half_nodes,
            "casts": self.casts,
            "half_weights": self.weights.elements,
            "subnormal_weights": self.weights.subnormal,
            "zeroed_weights": self.weights.zero,
            "keep_fp32": list(self.kept),
        }

    @property
    def text(self) -> str:
        """One line for people."""
        return (
            f"float16: {self.half_nodes} of {self.nodes} nodes, {self.casts} casts, {self.weights.elements} weights, "
            f"of which {self.weights.subnormal} below float16's normal range ({self.weights.zero} became 0)"
        )


def half_precision_model(
    model: onnx.ModelProto, kept: Collection[str] = (), keep_fp32: Sequence[str] = ()
) -> tuple[onnx.ModelProto, HalfPrecision]:
    """`convert_to_half` for a protobuf, which is unchanged; weights are copied once."""
    program = program_of(model)
    report = convert_to_half(program, kept, keep_fp32)
    put_weights_apart(program)
    return ir.to_proto(program), report


def convert_to_half(program: ir.Model, kept: Collection[str] = (), keep_fp32: Sequence[str] = ()) -> HalfPrecision:
    """Converts an exported float32 graph in place.

    Requires: sorted nodes without nested graphs, custom ops as calls, the type of every value.
    Ensures: inputs and outputs keep order, names and dtypes; no constant is cast at run time, and no value to one dtype twice.

    Args:
        program: The model; its weights are neither changed nor copied, but rounded when they are read.
        kept: Inner values that have to keep their name and float32, beside the graph's outputs.
        keep_fp32: Patterns of nodes whose results stay in float32; see `half_nodes`.

    Returns:
        What was done; the model is unmodified where ``half_nodes`` is 0.

    Raises:
        BuildError: A weight is not a number, or the type of a value is unknown.
        ParityError: Weights do not fit into float16.
        UsageError: A pattern fits no node.
    """
    graph = program.graph
    nodes = list(graph)
    _check_types(nodes)
    outside = {*graph.outputs, *(value for node in nodes for value in node.outputs if value.name in kept)}
    outside.update(value for name, value in graph.initializers.items() if name in kept)
    half = half_nodes(graph, outside, keep_fp32)
    loss = _halve_constants(graph, half, outside)
    casts = _insert_casts(graph, nodes, half, outside)
    return HalfPrecision(len(nodes), len(half), casts, loss, tuple(keep_fp32))


def _check_types(nodes: list[ir.Node]) -> None:
    for node in nodes:
        for value in node.outputs:
            if value.name and value.dtype is None and node.op_type not in _MAKES_NO_FLOAT:
                raise BuildError(
                    f"node '{node.name or node.outputs[0].name}'",
                    f"the type of '{value.name}' is unknown, expected one for every value",
                    "run ONNX shape inference before the conversion to float16",
                )


def _halve_constants(graph: ir.Graph, half: Set[ir.Node], outside: Set[ir.Value]) -> WeightLoss:
    """Stores in float16 what float16 nodes read; under another name where float32 is read too."""
    loss = WeightLoss()
    beyond: dict[str, float] = {}
    for value in list(graph.initializers.values()):
        readers = [use for use in value.uses() if use.node in half]
        if not readers or not is_float(value) or value.const_value is None:
            continue
        if (largest := too_large(value.const_value)) is not None:
            beyond |= {node_label(use.node): largest for use in readers}
            continue
        tensor, lost = half_tensor(value.const_value)
        loss += lost
        if len(readers) == len(value.uses()) and value not in outside:
            value.const_value, value.type = tensor, ir.TensorType(HALF)
            continue
        twin = ir.Value(name=f"{value.name}/float16", shape=value.shape, type=ir.TensorType(HALF), const_value=tensor)
        graph.register_initializer(twin)
        for use in readers:
            use.node.replace_input_with(use.idx, twin)
    if beyond:
        node, largest = next(iter(beyond.items()))
        more = f", and {len(beyond) - 1} more such nodes" if len(beyond) > 1 else ""
        problem = f"a weight is {largest:g}, expected at most {LARGEST:,.0f}, float16's largest number{more}"
        raise ParityError(f"node '{node}'", problem, keep_options(beyond))
    return loss


def _insert_casts(graph: ir.Graph, nodes: list[ir.Node], half: Set[ir.Node], outside: Set[ir.Value]) -> int:
    """Gives every node its computed inputs in the dtype that it works in, and every value the dtype of its maker.

    Returns:
        The number of casts: of values read outside behind their maker, of all others before the first node that needs them.
    """
    made_half = {value for node in nodes if node in half for value in node.outputs if is_float(value)}
    cast_of: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in nodes:
        to = HALF if node in half else _FULL
        for index, value in enumerate(node.inputs):
            if not is_float(value) or value.is_initializer() or (value in made_half) == (to == HALF):
                continue
            if (value, to) not in cast_of:
                cast = _cast(value, f"{value.name}/{_DTYPE_NAME[to]}", to, node)
                graph.insert_before(node, cast)
                cast_of[value, to] = cast.outputs[0]
            node.replace_input_with(index, cast_of[value, to])
        for value in reversed(node.outputs):
            if value in made_half and value in outside:
                cast = _cast(value, value.name or "", _FULL, node)
                graph.insert_after(node, cast)
                value.name = f"{value.name}/float16"
                cast_of[value, _FULL] = cast.outputs[0]
                for index, output in enumerate(graph.outputs):
                    if output is value:
                        graph.outputs[index] = cast.outputs[0]
    for value in made_half:
        value.type = ir.TensorType(HALF)
    return len(cast_of)


def _cast(value: ir.Value, name: str, to: ir.DataType, beside: ir.Node) -> ir.Node:
    """A cast to a value called ``name``; it belongs to the same part of the model as the node ``beside``."""
    result = ir.Value(name=name, shape=value.shape, type=ir.TensorType(to))
    metadata = dict(beside.metadata_props)
    return ir.node("Cast", [value], {"to": to}, outputs=[result], name=f"{name}/cast", metadata_props=metadata)
