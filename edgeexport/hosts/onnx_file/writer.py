"""Copies nodes of a file into a piece for a number of tokens, and adds others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexport.hosts.onnx_file.axis import Axis
from edgeexport.hosts.onnx_file.token_axes import TokenAxes
from edgeexport.hosts.onnx_file.vit import FileVit
from edgeexport.hosts.piece import Piece

__all__ = ["ADDED", "PieceWriter", "is_batched"]

ADDED = "edgeexport"
"""Ahead of the names of nodes and values that are not the file's."""


class PieceWriter:
    """Copies nodes of a file into a `Piece` for a number of tokens, and adds others."""

    def __init__(self, vit: FileVit, inputs: Sequence[str], scope: str) -> None:
        self.vit, self.graph, self.scope = vit, vit.graph, scope
        self.piece = Piece(list(inputs))

    def told(self, name: str, shape: Sequence[int], dtype: int = TensorProto.FLOAT) -> str:
        """Remembers what a value is."""
        self.piece.shapes[name], self.piece.dtypes[name] = tuple(shape), dtype
        return name

    def op(
        self, op_type: str, inputs: Sequence[str], label: str, shape: Sequence[int], to: str = "", **own: Any
    ) -> str:
        """Adds a node that is not the file's."""
        name = f"{ADDED}/{self.scope}/{label}"
        result = self.told(to or name, shape)
        self.piece.nodes.append(helper.make_node(op_type, list(inputs), [result], name, **own))
        return result

    def constant(self, label: str, value: Any) -> str:
        """Adds a constant; integers are int64."""
        array = np.asarray(value)
        name = f"{ADDED}/{self.scope}/{label}"
        self.piece.constants[name] = numpy_helper.from_array(array, name)
        return name

    def copy(
        self,
        positions: Collection[int],
        axes: TokenAxes | None = None,
        tokens: int = 0,
        renamed: Mapping[tuple[int, int], str] | None = None,
    ) -> None:
        """Copies nodes; with ``axes`` for so many tokens. ``renamed`` inputs are read from elsewhere."""
        swapped = renamed or {}
        for position in sorted(positions):
            node = onnx.NodeProto()
            node.CopyFrom(self.graph.nodes[position])
            for index, name in enumerate(node.input):
                if (position, index) in swapped:
                    node.input[index] = swapped[position, index]
                elif axes is not None and (position, index) in axes.narrowed:
                    node.input[index] = self.constant(f"{position}_{index}", axes.narrowed[position, index])
                elif axes is not None and (position, index) in axes.sizes and tokens != self.vit.tokens:
                    sizes = axes.sizes[position, index](tokens)
                    if sizes != self.graph.numbers(name):
                        node.input[index] = self.constant(f"{position}_{index}", np.asarray(sizes, dtype=np.int64))
                if node.input[index] in self.graph.tensors:
                    self.piece.constants[name] = self.graph.tensors[name]
            for name in filter(None, node.output):
                shape = self.graph.shapes[name] if axes is None else tuple(a.size(tokens) for a in axes.of(name))
                self.told(name, shape, self.graph.dtypes[name])
            self.piece.nodes.append(node)

    def native(self, given: str, value: str, axes: Sequence[Axis], tokens: int, label: str) -> None:
        """Tokens (B, n, C), called ``given``, as the file has them, called ``value``."""
        self._relaid(given, value, axes, [axis.size(tokens) for axis in axes], label)

    def batched(self, value: str, axes: Sequence[Axis], tokens: int, label: str) -> str:
        """The file's tokens as (B, n, C)."""
        shape = [self.vit.batch, tokens, self.vit.width]
        result = f"{ADDED}/{self.scope}/{label}"
        return result if self._relaid(value, result, axes, shape, label) else value

    def _relaid(self, source: str, result: str, axes: Sequence[Axis], shape: Sequence[int], label: str) -> bool:
        if len(axes) == 3 and axes[1].per_token:
            return False
        if len(axes) == 3:
            self.op("Transpose", [source], label, shape, result, perm=[1, 0, 2])
        else:
            self.op("Reshape", [source, self.constant(f"{label}_shape", shape)], label, shape, result)
        return True


def is_batched(axes: Sequence[Axis]) -> bool:
    return len(axes) == 3 and bool(axes[1].per_token)
