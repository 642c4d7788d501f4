"""Parts of a file as nodes for any number of tokens: what stands in for stand-ins in a graph, and what the reference runs.

Nodes, values and weights keep the file's names; what is added is named after the package.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgeexport.hosts.onnx_file.tables import row_width, table_from_rows
from edgeexport.hosts.onnx_file.token_axes import TokenAxes
from edgeexport.hosts.onnx_file.vit import FileVit
from edgeexport.hosts.onnx_file.writer import ADDED, PieceWriter, is_batched
from edgeexport.hosts.piece import Piece

__all__ = ["attending", "finishing", "opening", "tail"]


def opening(vit: FileVit, pixels: str) -> Piece:
    """Pixels -> what enters block 1, (B, N, C), and what the tail reads beside."""
    writer = PieceWriter(vit, [pixels], "embedding")
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
    writer = PieceWriter(vit, inputs, f"blocks.{number}.attn")
    writer.told(x, (vit.batch, tokens, vit.width))
    own = axes.of(attention.entering)
    renamed: dict[tuple[int, int], str] = {}
    if is_batched(own):
        renamed |= _readers_of(vit, block.attending, attention.entering, x)
    else:
        inner = writer.told(f"{ADDED}/{writer.scope}/x", [axis.size(tokens) for axis in own])
        writer.native(x, inner, own, tokens, "entering")
        renamed |= _readers_of(vit, block.attending, attention.entering, inner)
    if rows:
        writer.told(rows, (rows_batch, tokens, row_width(vit)))
        for place, table in axes.tables.items():
            renamed[place] = table_from_rows(writer, rows, rows_batch, tokens, table, place)
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
    writer = PieceWriter(vit, [x], f"blocks.{number}.mlp")
    writer.told(x, (vit.batch, tokens, vit.width))
    own, inner = block.axes.of(block.attention.leaving), x
    if not is_batched(own):
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
    writer = PieceWriter(vit, [*stages, *beside.values()], "tail")
    renamed: dict[tuple[int, int], str] = {}
    for name, given in beside.items():
        writer.told(given, vit.graph.shapes[name], vit.graph.dtypes[name])
        renamed |= _readers_of(vit, vit.tail, name, given)
    ends: dict[str, str] = {}
    for number, given in zip(vit.reads, stages, strict=True):
        block = vit.blocks[number - 1]
        writer.told(given, (vit.batch, tokens, vit.width))
        own, inner = block.axes.of(block.end), given
        if not is_batched(own):
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


def _biased(writer: PieceWriter, vit: FileVit, softmax: int, axes: TokenAxes, tokens: int, bias: str) -> str:
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


def _metric(writer: PieceWriter, vit: FileVit, number: int, kind: str, tokens: int) -> str:
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
