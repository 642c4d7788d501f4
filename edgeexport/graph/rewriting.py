"""What passes that put other nodes in place of some need: new nodes and constants with shape, type, name and scope."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

__all__ = ["Place", "constant_of", "is_kept", "put_in_place", "rank_of", "remove_unused", "shape_of", "stored"]


class Place:
    """Where new nodes go: ahead of one node of a graph, in its scope and named after it."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node
        self.metadata = dict(node.metadata_props)
        self.base = node.name or str(node.outputs[0].name)

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        label: str,
        shape: Sequence[int],
        dtype: ir.DataType = ir.DataType.FLOAT,
        **attributes: Any,
    ) -> ir.Value:
        """Adds a node; its result is called after the place and ``label``."""
        name = f"{self.base}/{label}"
        result = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        node = ir.node(op_type, inputs, attributes, outputs=[result], name=name, metadata_props=self.metadata)
        self.graph.insert_before(self.node, node)
        return result

    def constant(self, label: str, array: NDArray | Sequence[int]) -> ir.Value:
        """A constant of this place; a sequence of numbers is int64, as axes and shapes are."""
        return stored(self.graph, f"{self.base}/{label}", np.asarray(array))

    def transposed(self, label: str, matrix: ir.Value) -> ir.Value:
        """An initializer with rows and columns exchanged whenever it is read, so that its numbers are held once."""
        tensor, name = matrix.const_value, f"{self.base}/{label}"
        assert tensor is not None
        rows, columns = shape_of(matrix)
        lazy = ir.LazyTensor(
            lambda: ir.tensor(np.ascontiguousarray(tensor.numpy().T)),
            tensor.dtype,
            ir.Shape([columns, rows]),
            name=name,
        )
        value = ir.Value(name=name, shape=lazy.shape, type=ir.TensorType(lazy.dtype), const_value=lazy)
        self.graph.register_initializer(value)
        return value


def stored(graph: ir.Graph, name: str, array: NDArray) -> ir.Value:
    """The initializer called ``name``, made of ``array`` where there is none yet."""
    if name not in graph.initializers:
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
    return graph.initializers[name]


def put_in_place(old: ir.Value, new: ir.Value) -> None:
    """Gives ``new`` the name and the readers of ``old``, graph outputs among them."""
    name = old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = f"{name}/replaced", name


def constant_of(value: ir.Value | None) -> NDArray | None:
    """An initializer's numbers; None where ``value`` is none."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    return value.const_value.numpy()


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """Empty where it is unknown."""
    if value is None or value.shape is None or not value.shape.is_static():
        return ()
    return tuple(value.shape.numpy())


def rank_of(value: ir.Value | None) -> int:
    """0 where it is unknown."""
    return 0 if value is None or value.shape is None else len(value.shape)


def is_kept(values: Iterable[ir.Value], kept: Collection[str]) -> bool:
    """Whether somebody outside asks for one of them."""
    return any(value.is_graph_output() or value.name in kept for value in values)


def remove_unused(program: ir.Model, kept: Collection[str] = ()) -> None:
    """Removes nodes that lead nowhere; what is ``kept`` may have no reader, such as a decision that no image changes."""
    outputs = program.graph.outputs
    more = [value for node in program.graph for value in node.outputs if value.name in kept and value not in outputs]
    outputs.extend(more)
    RemoveUnusedNodesPass()(program)
    for _ in more:
        outputs.pop()
