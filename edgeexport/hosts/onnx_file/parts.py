"""Parts of a file as nodes for any number of tokens: what stands in for stand-ins in a graph, and what the reference runs.

Nodes, values and weights keep the file's names; what is added is named after the package.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeexport.hosts.onnx_file.token_axes import Axis, Table, TokenAxes
from edgeexport.hosts.onnx_file.vit import FileVit
from edgeexport.hosts.piece import Piece

__all__ = ["ADDED", "attending", "finishing", "opening", "row_width", "table_rows", "tail"]

ADDED = "edgeexport"
"""Ahead of the names of nodes and values that are not the file's."""


class _Writer:
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


def _is_batched(axes: Sequence[Axis]) -> bool:
    return len(axes) == 3 and bool(axes[1].per_token)


def opening(vit: FileVit, pixels: str) -> Piece:
    """Pixels -> what enters block 1, (B, N, C), and what the tail reads beside."""
    writer = _Writer(vit, [pixels], "embedding")
    writer.told(pixels, vit.image)
    renamed = _readers_of(vit, vit.opening, vit.graph.input, pixels)
    writer.copy(vit.opening, renamed=renamed)
    axes = vit.blocks[0].axes.of(vit.entering)
    entering = writer.batched(vit.entering, axes, vit.tokens, "tokens")
    writer.piece.outputs = [entering, *(name for name in vit.beside if name != vit.graph.input)]
    return writer.piece


def attending(
    vit: FileVit,
    number: int,
    tokens: int,
    x: str,
    *,
    bias: str = "",
    rows: str = "",
    rows_batch: int = 1,
    metric: str = "",
) -> Piece:
    """Tokens (B, n, C) -> the same after the attention of a block, and what they are compared by, (B, h, n, d).

    Args:
        vit: The file.
        number: Of the block, from 1.
        tokens: n.
        x: Name of the tokens.
        bias: Name of what is added to the logits of every key, (B, 1, 1, n); empty for nothing.
        rows: Name of the rows of tables, (B or 1, n, W); empty: those of the file, of which there must be n.
        rows_batch: Their first axis.
        metric: 'k', 'q', 'v', or empty.
    """
    block = vit.blocks[number - 1]
    attention, axes = block.attention, block.axes
    inputs = [x, *([bias] if bias else []), *([rows] if rows else [])]
    writer = _Writer(vit, inputs, f"blocks.{number}.attn")
    writer.told(x, (vit.batch, tokens, vit.width))
    own = axes.of(attention.entering)
    renamed: dict[tuple[int, int], str] = {}
    if _is_batched(own):
        renamed |= _readers_of(vit, block.attending, attention.entering, x)
    else:
        inner = writer.told(f"{ADDED}/{writer.scope}/x", [axis.size(tokens) for axis in own])
        writer.native(x, inner, own, tokens, "entering")
        renamed |= _readers_of(vit, block.attending, attention.entering, inner)
    if rows:
        writer.told(rows, (rows_batch, tokens, row_width(vit)))
        for place, table in axes.tables.items():
            renamed[place] = _table_from_rows(writer, rows, rows_batch, tokens, table, place)
    before, after = (
        {index for index in block.attending if index < attention.softmax},
        {index for index in block.attending if index >= attention.softmax},
    )
    writer.copy(before, axes, tokens, renamed)
    if bias:
        writer.told(bias, (vit.batch, 1, 1, tokens))
        renamed[attention.softmax, 0] = _biased(writer, vit, attention.softmax, axes, tokens, bias)
    writer.copy(after, axes, tokens, renamed)
    leaving = writer.batched(attention.leaving, own, tokens, "leaving")
    writer.piece.outputs = [leaving]
    if metric:
        writer.piece.outputs.append(_metric(writer, vit, number, metric, tokens))
    return writer.piece


def finishing(vit: FileVit, number: int, tokens: int, x: str) -> Piece:
    """Tokens (B, n, C) after the attention -> after the block."""
    block = vit.blocks[number - 1]
    writer = _Writer(vit, [x], f"blocks.{number}.mlp")
    writer.told(x, (vit.batch, tokens, vit.width))
    own, inner = block.axes.of(block.attention.leaving), x
    if not _is_batched(own):
        inner = writer.told(f"{ADDED}/{writer.scope}/x", [axis.size(tokens) for axis in own])
        writer.native(x, inner, own, tokens, "entering")
    renamed = _readers_of(vit, block.finishing, block.attention.leaving, inner)
    writer.copy(block.finishing, block.axes, tokens, renamed)
    writer.piece.outputs = [writer.batched(block.end, own, tokens, "leaving")]
    return writer.piece


def tail(vit: FileVit, stages: Sequence[str], beside: Mapping[str, str], tokens: int) -> Piece:
    """Tokens (B, n, C) after the blocks of ``vit.reads`` -> the file's outputs.

    Args:
        vit: The file.
        stages: Names of the tokens, parallel to ``vit.reads``.
        beside: Value ahead of block 1 that the tail reads -> its name here.
        tokens: n; another number than N only where ``vit.keeps_merged``.
    """
    writer = _Writer(vit, [*stages, *beside.values()], "tail")
    renamed: dict[tuple[int, int], str] = {}
    for name, given in beside.items():
        writer.told(given, vit.graph.shapes[name], vit.graph.dtypes[name])
        renamed |= _readers_of(vit, vit.tail, name, given)
    ends: dict[str, str] = {}
    for number, given in zip(vit.reads, stages, strict=True):
        block = vit.blocks[number - 1]
        writer.told(given, (vit.batch, tokens, vit.width))
        own, inner = block.axes.of(block.end), given
        if not _is_batched(own):
            inner = writer.told(f"{ADDED}/tail/x_{number}", [axis.size(tokens) for axis in own])
            writer.native(given, inner, own, tokens, f"entering_{number}")
        renamed |= _readers_of(vit, vit.tail, block.end, inner)
        ends[block.end] = inner
    writer.copy(vit.tail, vit.tail_axes if tokens != vit.tokens else None, tokens, renamed)
    for name in vit.graph.outputs:
        if vit.graph.place.get(name) not in vit.tail:  # tokens themselves, or something ahead of the blocks
            source = ends.get(name) or beside.get(name, name)
            writer.op("Identity", [source], f"output_{name}", writer.piece.shapes[source], name)
            writer.piece.dtypes[name] = vit.graph.dtypes[name]
    writer.piece.outputs = list(vit.graph.outputs)
    return writer.piece


def _readers_of(vit: FileVit, positions: Collection[int], value: str, name: str) -> dict[tuple[int, int], str]:
    """Every place among these nodes that reads ``value``, which is called ``name`` here."""
    return {
        (position, index): name
        for position in vit.graph.readers.get(value, ())
        if position in positions
        for index, read in enumerate(vit.graph.nodes[position].input)
        if read == value
    }


def _biased(writer: _Writer, vit: FileVit, softmax: int, axes: TokenAxes, tokens: int, bias: str) -> str:
    """The logits with ``bias`` (B, 1, 1, n) added, also where heads stand in one axis with images."""
    logits = vit.graph.nodes[softmax].input[0]
    shape = [axis.size(tokens) for axis in axes.of(logits)]
    batch, heads = vit.batch, vit.heads
    if len(shape) == 3:
        wide = writer.op(
            "Expand",
            [bias, writer.constant("bias_heads", [batch, heads, 1, tokens])],
            "bias/Expand",
            [batch, heads, 1, tokens],
        )
        flat = [shape[0], 1, tokens]
        bias = writer.op("Reshape", [wide, writer.constant("bias_shape", flat)], "bias/Reshape", flat)
    return writer.op("Add", [logits, bias], "bias/Add", shape)


def row_width(vit: FileVit) -> int:
    """Numbers in a row of every token."""
    return sum(_row(vit, name, _axis_of(vit, name))[0].shape[1] for name in vit.tables)


def table_rows(vit: FileVit) -> NDArray[np.float32] | None:
    """Every token's rows of all tables, side by side: float32 (N, W), zeros for tokens that a table leaves out."""
    columns = []
    for name in vit.tables:
        rows, _ = _row(vit, name, _axis_of(vit, name))
        first = vit.tokens - len(rows)
        columns.append(np.concatenate([np.zeros((first, rows.shape[1]), rows.dtype), rows]))
    return np.concatenate(columns, axis=1).astype(np.float32) if columns else None


def _axis_of(vit: FileVit, name: str) -> int:
    return next(table.axis for block in vit.blocks for table in block.axes.tables.values() if table.name == name)


def _row(vit: FileVit, name: str, axis: int) -> tuple[NDArray, tuple[int, ...]]:
    """A table as rows (n, w), and the sizes of its other axes."""
    array = vit.graph.array(name)
    moved = np.moveaxis(array, axis, 0)
    return moved.reshape(len(moved), -1), moved.shape[1:]


def _table_from_rows(
    writer: _Writer, rows: str, rows_batch: int, tokens: int, table: Table, place: tuple[int, int]
) -> str:
    """The columns of a table among everybody's rows, in the layout in which the node reads it."""
    vit, label = writer.vit, f"table_{place[0]}_{place[1]}"
    start = 0
    for name in vit.tables:
        width = _row(vit, name, _axis_of(vit, name))[0].shape[1]
        if name == table.name:
            break
        start += width
    count = tokens - table.first
    own = writer.op(
        "Slice",
        [
            rows,
            writer.constant(f"{label}_starts", [table.first, start]),
            writer.constant(f"{label}_ends", [tokens, start + width]),
            writer.constant(f"{label}_axes", [1, 2]),
        ],
        f"{label}/Slice",
        [rows_batch, count, width],
    )
    shape = list(vit.graph.shapes[table.name])
    ahead, behind = shape[: len(shape) + table.axis], shape[len(shape) + table.axis + 1 :]
    if any(size != 1 for size in ahead):  # tokens last: (1, d, n)
        own = writer.op("Transpose", [own], f"{label}/Transpose", [rows_batch, width, count], perm=[0, 2, 1])
    rank = len(table.meets)
    target = [1] * (rank - len(shape)) + [*ahead, count, *behind]
    target[0] = rows_batch if rank > len(shape) or target[0] == 1 else target[0]
    return writer.op("Reshape", [own, writer.constant(f"{label}_shape", target)], f"{label}/Reshape", target)


def _metric(writer: _Writer, vit: FileVit, number: int, kind: str, tokens: int) -> str:
    """Queries, keys or values ahead of any table: (B, h, n, d)."""
    block = vit.blocks[number - 1]
    attention = block.attention
    value = _unturned(vit, number, {"q": attention.query, "k": attention.key, "v": attention.value}[kind])
    axes = block.axes.of(value)
    shape = [axis.size(tokens) for axis in axes]
    place = next(index for index, axis in enumerate(axes) if axis.per_token)
    batch, heads = vit.batch, vit.heads
    if len(shape) == 4:
        order = {1: [0, 2, 1, 3], 2: [0, 1, 2, 3], 3: [0, 1, 3, 2]}[place]
        if order == [0, 1, 2, 3]:
            return value
        turned = [shape[index] for index in order]
        return writer.op("Transpose", [value], "metric/Transpose", turned, perm=order)
    if len(shape) == 3 and shape[0] == batch * heads and heads > 1:
        if place == 2:
            shape = [shape[0], shape[2], shape[1]]
            value = writer.op("Transpose", [value], "metric/Transpose", shape, perm=[0, 2, 1])
        target = [batch, heads, tokens, shape[2]]
        return writer.op("Reshape", [value, writer.constant("metric_shape", target)], "metric/Reshape", target)
    split = [batch, tokens, heads, shape[-1] // heads]
    value = writer.op("Reshape", [value, writer.constant("metric_shape", split)], "metric/Reshape", split)
    return writer.op(
        "Transpose", [value], "metric/Transpose", [split[0], split[2], split[1], split[3]], perm=[0, 2, 1, 3]
    )


def _unturned(vit: FileVit, number: int, value: str) -> str:
    """The nearest value above, through which all of ``value`` comes, that no table has touched."""
    block = vit.blocks[number - 1]
    graph, turned = vit.graph, block.axes.turned
    if value not in turned:
        return value
    start = block.attention.entering
    above = sorted(graph.above([value], [start]), reverse=True)
    for index in above:
        for name in graph.nodes[index].output:
            if not name or name in turned:
                continue
            around = graph.above([value], [start, name])
            if start not in graph.inputs_of(around):
                return name
    return value
