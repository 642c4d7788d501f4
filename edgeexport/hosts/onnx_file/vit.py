"""What a file was recognised as: patches, blocks, and the tail that reads their tokens."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from onnx import TensorProto

from edgeexport.hosts.onnx_file.graph import PlainGraph
from edgeexport.hosts.onnx_file.plain import input_of_file, loaded, plain_graph
from edgeexport.hosts.onnx_file.recognise import FileBlock, attentions_of, blocks_of, entering_axes
from edgeexport.hosts.onnx_file.refused import NotRecognised, label_of
from edgeexport.hosts.onnx_file.token_axes import TokenAxes

__all__ = ["FileVit", "Reading", "opened_file"]

_MOST_PREFIX = 64
_DEFAULT_SIDE = 224


@dataclass(frozen=True)
class Reading:
    """How a file is to be read; None: found out.

    Attributes:
        image: (height, width), where the file leaves them open.
        prefix: Tokens ahead of the patches.
        unmerge_before: A value with all tokens, behind the last block, ahead of which they are brought back.
        batch: Images, where the file leaves their number open.
    """

    image: tuple[int, int] | None = None
    prefix: int | None = None
    unmerge_before: str | None = None
    batch: int | None = None


@dataclass(frozen=True)
class FileVit:
    """A Vision Transformer in a file.

    Attributes:
        path: Of the file, for messages.
        graph: Its plain form.
        open_batch, open_size: Whether the file leaves them open.
        image: (B, channels, height, width).
        blocks: In order.
        tokens, prefix, grid: N = prefix + rows x columns.
        width, heads: Of the tokens, of the attention.
        opening: Positions of the nodes ahead of block 1 that it needs.
        tail: Positions of the nodes behind, and those ahead of block 1 that it alone needs.
        reads: 1-based blocks whose tokens the tail reads, deepest first.
        beside: Values ahead of block 1 that the tail reads as well.
        keeps_merged: The tail reads tokens ahead of the patches alone, so that the others may stay merged.
        tail_axes: How merged tokens go through it then.
        rows: Width of a row of every token's tables, such as rotary positions; 0 without.
    """

    path: str
    graph: PlainGraph
    open_batch: bool
    open_size: bool
    image: tuple[int, int, int, int]
    blocks: tuple[FileBlock, ...]
    tokens: int
    prefix: int
    grid: tuple[int, int]
    width: int
    heads: int
    opening: frozenset[int]
    tail: frozenset[int]
    reads: tuple[int, ...]
    beside: tuple[str, ...]
    keeps_merged: bool
    tail_axes: TokenAxes

    @property
    def batch(self) -> int:
        """Images of one run."""
        return self.image[0]

    @property
    def entering(self) -> str:
        """What enters block 1."""
        return self.blocks[0].attention.entering

    @property
    def tables(self) -> list[str]:
        """Constants with a row for every token, each once."""
        every = [table.name for block in self.blocks for _, table in sorted(block.axes.tables.items())]
        return list(dict.fromkeys(every))


@lru_cache(maxsize=4)
def opened_file(path: Path, sha256: str, reading: Reading) -> FileVit:
    """Reads and recognises a file; ``sha256`` is of its content, so that a file that changed is read again.

    Raises:
        UsageError: See `edgeexport.ops.onnx_reading` and `NotRecognised`.
    """
    model, where = loaded(path), path.name
    _, sizes = input_of_file(model, where)
    image = _image(sizes, reading, where)
    graph = plain_graph(model, where, image)
    batch = image[0]
    attentions = attentions_of(graph, where, batch)
    first, tokens = attentions[0], graph.shapes[graph.nodes[attentions[0].softmax].output[0]][-1]
    axes = entering_axes(graph, first.entering, tokens, batch)
    if axes is None:  # the error of the first block says it
        blocks_of(graph, attentions, None, batch, None, where)
    if graph.dtypes[first.entering] != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(graph.dtypes[first.entering]).lower()
        problem = f"its tokens '{first.entering}' are {kind}, and float32 was looked for"
        raise NotRecognised(where, problem, "give the float32 file; --precision fp16 makes half of it")
    opening = graph.above([first.entering])
    grid, prefix = _patches(graph, opening, tokens, image, reading.prefix, where)
    end = _named_value(graph, reading.unmerge_before, tokens, batch, where)
    blocks = blocks_of(graph, attentions, prefix, batch, end, where)
    inside = {index for block in blocks for index in block.attending | block.finishing}
    tail = graph.above(graph.outputs) - inside - opening
    reads, beside = _read_by_tail(graph, blocks, inside, tail, where)
    follower = TokenAxes(graph, tokens, prefix)
    keeps = _keeps_merged(graph, follower, blocks, reads, tail, tokens, batch)
    return FileVit(
        path=where,
        graph=graph,
        open_batch=sizes[0] is None,
        open_size=sizes[2] is None or sizes[3] is None,
        image=image,
        blocks=tuple(blocks),
        tokens=tokens,
        prefix=prefix,
        grid=grid,
        width=graph.shapes[first.entering][-1],
        heads=first.heads,
        opening=frozenset(opening),
        tail=frozenset(tail),
        reads=reads,
        beside=beside,
        keeps_merged=keeps,
        tail_axes=follower,
    )


def _image(sizes: Sequence[int | None], reading: Reading, where: str) -> tuple[int, int, int, int]:
    batch, channels, height, width = sizes
    if channels is None:
        channels = 3
    wanted = reading.image or (height or _DEFAULT_SIDE, width or _DEFAULT_SIDE)
    for own, asked, what in (
        (height, wanted[0], "height"),
        (width, wanted[1], "width"),
        (batch, reading.batch, "batch"),
    ):
        if own is not None and asked is not None and own != asked:
            problem = f"was exported for a {what} of {own}, and {asked} is asked for"
            raise NotRecognised(where, problem, f"use {own}, or export it again")
    return (reading.batch or batch or 1, channels, *wanted)


def _patches(
    graph: PlainGraph,
    opening: set[int],
    tokens: int,
    image: tuple[int, ...],
    asked: int | None,
    where: str,
) -> tuple[tuple[int, int], int]:
    """(Rows, columns) of patches, and the tokens ahead of them: from the last map that enters, whose cells are tokens."""
    maps = []
    for index in sorted(opening):
        shape = graph.shapes[graph.nodes[index].output[0]]
        if len(shape) == 4 and graph.nodes[index].op_type == "Conv":
            maps.append((shape[2], shape[3]))
    if not maps:  # patches cut by Reshape: a size that divides the image
        sides = [side for side in range(min(image[2:]), 1, -1) if not image[2] % side and not image[3] % side]
        maps = [(image[2] // side, image[3] // side) for side in sides]
    fitting = [grid for grid in maps if 0 <= tokens - grid[0] * grid[1] <= _MOST_PREFIX]
    if asked is not None:
        fitting = [grid for grid in fitting if tokens - grid[0] * grid[1] == asked]
    if not fitting:
        shown = ", ".join(f"{rows} x {columns}" for rows, columns in maps[-3:]) or "none"
        problem = (
            f"has {tokens} tokens{f', {asked} of them ahead of the patches' if asked is not None else ''}; a map of patches "
            f"that are all of them but a few was looked for ahead of block 1, found {shown}"
        )
        raise NotRecognised(where, problem, "give the tokens ahead of the patches: --prefix 1")
    rows, columns = fitting[-1]
    prefix = tokens - rows * columns
    _check_prefix_leads(graph, opening, tokens, prefix, where)
    return (rows, columns), prefix


def _check_prefix_leads(graph: PlainGraph, opening: set[int], tokens: int, prefix: int, where: str) -> None:
    """Prefix tokens are joined ahead of the patches, not behind."""
    if not prefix:
        return
    for index in sorted(opening, reverse=True):
        node = graph.nodes[index]
        shape = graph.shapes[node.output[0]]
        if node.op_type == "Concat" and tokens in shape:
            place = shape.index(tokens)
            sizes = [graph.shapes[name][place] for name in node.input if len(graph.shapes[name]) == len(shape)]
            if sizes and sizes[0] > prefix:
                problem = f"{label_of(node)} puts {tokens - sizes[0]} tokens behind the patches"
                raise NotRecognised(where, problem, "class and register tokens are looked for ahead of the patches")
            return


def _named_value(graph: PlainGraph, name: str | None, tokens: int, batch: int, where: str) -> str | None:
    if name is None:
        return None
    if name not in graph.place:
        known = [value for node in graph.nodes for value in node.output]
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]}?" if near else "`edgeexport inspect` shows where blocks end"
        raise NotRecognised(f"--unmerge-before {name}", f"{where} has no such value", remedy)
    if entering_axes(graph, name, tokens, batch) is None:
        problem = f"is {list(graph.shapes[name])}, and all {tokens} tokens were looked for"
        raise NotRecognised(f"--unmerge-before {name}", problem, "name a value behind the last block that has them all")
    return name


def _read_by_tail(
    graph: PlainGraph, blocks: Sequence[FileBlock], inside: set[int], tail: set[int], where: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    ends = {block.end: number for number, block in enumerate(blocks, start=1)}
    wanted = [*graph.inputs_of(tail), *(name for name in graph.outputs if graph.place.get(name) not in tail)]
    reads, beside = set[int](), list[str]()
    for name in dict.fromkeys(wanted):
        if name in ends:
            reads.add(ends[name])
        elif graph.place.get(name) in inside:
            maker = graph.maker(name)
            assert maker is not None
            problem = f"what {label_of(maker)} gives inside a block is read outside of it"
            raise NotRecognised(where, problem, "export it without attention maps and the like among its outputs")
        else:
            beside.append(name)
    if not reads:
        raise NotRecognised(
            where, "nothing reads the tokens after its blocks", "give a file that does something with them"
        )
    return tuple(sorted(reads, reverse=True)), tuple(beside)


def _keeps_merged(
    graph: PlainGraph,
    follower: TokenAxes,
    blocks: Sequence[FileBlock],
    reads: Sequence[int],
    tail: set[int],
    tokens: int,
    batch: int,
) -> bool:
    """Whether the tail can be followed with any number of tokens and gives out none of them."""
    for number in reads:
        axes = entering_axes(graph, blocks[number - 1].end, tokens, batch)
        assert axes is not None
        follower.axes[blocks[number - 1].end] = axes
    try:
        follower.follow(tail)
    except NotRecognised:
        return False
    given = [axis for name in graph.outputs for axis in follower.of(name)]
    return not any(axis.per_token for axis in given) and not follower.tables
