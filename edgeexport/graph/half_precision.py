"""The mixed-precision graph: float16 where `edgeexport.graph.half_precision_policy` says so, casts at the borders.

Precision lives in the graph, since TensorRT 11 has strongly typed networks alone. Inputs and outputs keep their dtypes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import onnx
from onnx import TensorProto, helper

from edgeexport.errors import BuildError
from edgeexport.graph.half_precision_policy import GraphValues, half_nodes
from edgeexport.graph.half_precision_weights import WeightLoss, half_tensor
from edgeexport.graph.skeleton import Skeleton, model_from_skeleton, skeleton_from_model

__all__ = ["HalfPrecision", "half_precision_model"]

_TYPE_NAME = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
_MAKES_NO_FLOAT = frozenset({"ArgMax", "ArgMin", "NonZero", "Shape", "Size"})


@dataclass(frozen=True)
class HalfPrecision:
    """What the conversion did.

    Attributes:
        nodes: Nodes of the graph, casts left out.
        half_nodes: Those of them that compute in float16.
        casts: Casts between float32 and float16.
        weights: What became of the weights.
    """

    nodes: int
    half_nodes: int
    casts: int
    weights: WeightLoss

    def as_dict(self) -> dict[str, int]:
        """JSON-ready, for the manifest."""
        return {
            "nodes": self.nodes,
            "half_nodes": self.half_nodes,
            "casts": self.casts,
            "half_weights": self.weights.elements,
            "subnormal_weights": self.weights.subnormal,
            "zeroed_weights": self.weights.zero,
        }

    @property
    def text(self) -> str:
        """One line for people."""
        return (
            f"float16: {self.half_nodes} of {self.nodes} nodes, {self.casts} casts, {self.weights.elements} weights, "
            f"of which {self.weights.subnormal} below float16's normal range ({self.weights.zero} became 0)"
        )


def half_precision_model(model: onnx.ModelProto, kept: Collection[str] = ()) -> tuple[onnx.ModelProto, HalfPrecision]:
    """Converts an exported float32 graph; ``model`` is unchanged, weights are copied once.

    Args:
        model: With the type and shape of every float32 value; custom ops as bare nodes. No nested graphs.
        kept: Inner values that have to keep their name and float32, beside the graph's outputs.

    Raises:
        BuildError: A weight does not fit into float16, or the type of a value is unknown.
    """
    skeleton = skeleton_from_model(model)
    values = _values(skeleton, kept)
    rewriter = _Rewriter(skeleton, values)
    return rewriter.run()


def _values(skeleton: Skeleton, kept: Collection[str]) -> GraphValues:
    graph = skeleton.model.graph
    dtypes = {tensor.name: tensor.data_type for tensor in graph.initializer}
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor = value.type.tensor_type
        dtypes[value.name] = tensor.elem_type
        if all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = [dim.dim_value for dim in tensor.shape.dim]
    for node in graph.node:
        for value in filter(None, node.output):
            if not dtypes.get(value) and node.op_type not in _MAKES_NO_FLOAT:
                raise BuildError(
                    f"node '{node.name or node.output[0]}'",
                    f"the type of '{value}' is unknown, expected one for every value",
                    "run ONNX shape inference before the conversion to float16",
                )
    constants = {tensor.name for tensor in graph.initializer} | skeleton.weights.keys()
    return GraphValues(dtypes, shapes, constants, {*kept, *(value.name for value in graph.output)})


class _Rewriter:
    """Renames, casts and converts in a skeleton's graph, which it owns."""

    def __init__(self, skeleton: Skeleton, values: GraphValues) -> None:
        self.skeleton = skeleton
        self.graph = skeleton.model.graph
        self.values = values
        self.half = half_nodes(self.graph.node, values)
        self.made_half = {
            value
            for position in self.half
            for value in self.graph.node[position].output
            if value and values.is_float(value)
        }
        self.loss = WeightLoss()
        self.casts = 0
        self.cast_of: dict[tuple[str, int], str] = {}
        self.half_constants: set[str] = set()
        self.full_constants: set[str] = set()
        self.new_values: list[onnx.ValueInfoProto] = []

    def run(self) -> tuple[onnx.ModelProto, HalfPrecision]:
        """The model, and what was done."""
        self._sort_constants()
        nodes: list[onnx.NodeProto] = []
        for position, node in enumerate(self.graph.node):
            nodes += self._converted(position, node)
        count = len(self.graph.node)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        # Exporters describe weights among the inner values too, and a skeleton's weights are inputs.
        changed = (self.made_half - set(self.values.kept)) | (self.half_constants - self.full_constants)
        for info in (*self.graph.value_info, *self.graph.input):
            if info.name in changed:
                info.type.tensor_type.elem_type = TensorProto.FLOAT16
        self.graph.value_info.extend(self.new_values)
        weights = self._convert_constants()
        model = model_from_skeleton(replace(self.skeleton, weights=weights))
        return model, HalfPrecision(count, len(self.half), self.casts, self.loss)

    def _sort_constants(self) -> None:
        """Which float32 constants are read by float16 nodes, and which by others."""
        for position, node in enumerate(self.graph.node):
            for value in node.input:
                if value in self.values.constants and self.values.is_float(value):
                    (self.half_constants if position in self.half else self.full_constants).add(value)
        self.full_constants.update(value for value in self.values.kept if value in self.values.constants)

    def _converted(self, position: int, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """A node with the casts that it needs before it, and behind it those of values that keep their name."""
        to = TensorProto.FLOAT16 if position in self.half else TensorProto.FLOAT
        done = onnx.NodeProto()
        done.CopyFrom(node)
        for index, value in enumerate(node.input):
            if not self.values.is_float(value):
                continue
            if value in self.values.constants:
                done.input[index] = self._constant_name(value) if to == TensorProto.FLOAT16 else value
                continue
            given = TensorProto.FLOAT16 if value in self.made_half else TensorProto.FLOAT
            if given == to:
                done.input[index] = self._name(value)
            elif to == TensorProto.FLOAT and value in self.values.kept:
                done.input[index] = value  # its cast is behind its maker
            else:
                if (value, to) not in self.cast_of:
                    yield self._cast(self._name(value), value, f"{value}/{_TYPE_NAME[to]}", to, node)
                done.input[index] = self.cast_of[value, to]
        for index, value in enumerate(node.output):
            if value in self.made_half:
                done.output[index] = self._name(value)
        yield done
        for value in node.output:
            if value in self.made_half and value in self.values.kept:
                self._describe(self._name(value), value, TensorProto.FLOAT16)
                yield self._cast(self._name(value), value, value, TensorProto.FLOAT, node)

    def _name(self, value: str) -> str:
        """What a value is called in its maker's dtype: its own name, unless that has to stay float32."""
        return f"{value}/float16" if value in self.made_half and value in self.values.kept else value

    def _constant_name(self, value: str) -> str:
        """What a constant is called in float16: its own name, where no float32 node reads it."""
        return f"{value}/float16" if value in self.full_constants else value

    def _cast(self, read: str, value: str, name: str, to: int, beside: onnx.NodeProto) -> onnx.NodeProto:
        """A cast of ``value``; it belongs to the same part of the model as the node ``beside``."""
        self.casts += 1
        self.cast_of[value, to] = name
        if name != value:
            self._describe(name, value, to)
        node = helper.make_node("Cast", [read], [name], name=f"{name}/cast", to=to)
        node.metadata_props.extend(beside.metadata_props)
        return node

    def _describe(self, name: str, like: str, dtype: int) -> None:
        self.new_values.append(helper.make_tensor_value_info(name, dtype, self.values.shapes.get(like)))

    def _convert_constants(self) -> dict[str, onnx.TensorProto]:
        """Stores in float16 what float16 nodes read; returns the skeleton's weights after that."""
        weights = dict(self.skeleton.weights)
        small = {tensor.name: tensor for tensor in self.graph.initializer}
        added: list[onnx.TensorProto] = []
        for value in (name for name in self.skeleton.order if name in self.half_constants):
            name = self._constant_name(value)
            tensor, loss = half_tensor(weights[value] if value in weights else small[value], name)
            self.loss += loss
            if value in weights:
                weights[name] = tensor
            else:
                (added.append if name != value else small[value].CopyFrom)(tensor)
        self.graph.initializer.extend(added)
        return weights
