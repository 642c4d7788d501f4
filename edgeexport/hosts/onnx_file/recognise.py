"""Finds the blocks of a Vision Transformer in a graph: by shapes, constants and what depends on what, never by names.

An attention is a softmax over N x N that is multiplied with values. Its branch ends in the first sum of something that depends
on the softmax with something that the softmax depends on: the residual stream, as it entered (x) and as it goes on (y). The
rest of the block ends where the next attention's x is, or, in the last block, in the sum of y with what depends on it.
Everything between x and y, and from y on, must depend on the image through x, or y, alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edgeexport.hosts.onnx_file.axis import Axis
from edgeexport.hosts.onnx_file.graph import PlainGraph
from edgeexport.hosts.onnx_file.refused import NotRecognised, label_of
from edgeexport.hosts.onnx_file.token_axes import TokenAxes

__all__ = ["Attention", "FileBlock", "attention_at", "attentions_of", "blocks_of", "entering_axes", "stripped"]

LAYOUT = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Cast", "Identity", "Flatten", "Expand", "Dropout"})
_PROBABILITIES = frozenset({"Cast", "Identity", "Dropout", "IsNaN", "Where", "Mul", "Reshape", "Squeeze", "Unsqueeze"})
_NORMS = frozenset({"LayerNormalization", "ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare"})
_LOOKED_FOR = (
    "a softmax over N x N tokens, multiplied with values and added to what it was computed from, was looked for"
)


@dataclass(frozen=True)
class Attention:
    """Attention's nodes and values; positions are those of nodes in the graph.

    Attributes:
        softmax, mixing: The node over N x N, and its product with values.
        logits: Position of the product of queries with keys.
        query, key, value: Operands of the two products.
        entering, leaving: The residual stream before and after the branch.
        heads: Their number.
    """

    softmax: int
    mixing: int
    logits: int
    query: str
    key: str
    value: str
    entering: str
    leaving: str
    heads: int


@dataclass(frozen=True)
class FileBlock:
    """A block: nodes up to ``attention.leaving``, and from there to ``end``; how tokens go through both."""

    attention: Attention
    end: str
    attending: frozenset[int]
    finishing: frozenset[int]
    axes: TokenAxes


def attentions_of(graph: PlainGraph, path: str, batch: int) -> list[Attention]:
    """Every self-attention over one and the same number of tokens, in order.

    Raises:
        NotRecognised: There is none; with what every softmax is like.
    """
    found: list[tuple[int, Attention]] = []
    why: list[str] = []
    for position, node in enumerate(graph.nodes):
        if node.op_type != "Softmax":
            continue
        shape = graph.shapes[node.output[0]]
        result = attention_at(graph, position, batch)
        if isinstance(result, str):
            why.append(f"{label_of(node)} over {list(shape)}: {result}")
        else:
            found.append((shape[-1], result))
    if not found:
        problem = f"{_LOOKED_FOR}; {'; '.join(why[:3]) if why else 'there is no softmax at all'}"
        raise NotRecognised(path, problem, "give a plain Vision Transformer, exported without fusion")
    tokens = Counter(count for count, _ in found).most_common(1)[0][0]
    return [attention for count, attention in found if count == tokens]


def attention_at(graph: PlainGraph, softmax: int, batch: int) -> Attention | str:
    """The self-attention around a softmax, or why there is none."""
    shape = graph.shapes[graph.nodes[softmax].output[0]]
    if len(shape) < 3 or shape[-1] != shape[-2] or shape[-1] < 4:
        return "it is not over N x N"
    mixing = _mixing(graph, softmax)
    if mixing is None:
        return "its result is not multiplied with values"
    logits = _logits(graph, softmax)
    if logits is None:
        return "no product of queries with keys lies above it"
    above = graph.above(graph.nodes[softmax].input)
    depends_on = {name for index in above for name in (*graph.nodes[index].input, *graph.nodes[index].output)}
    below = {graph.nodes[softmax].output[0]}
    for index in range(softmax + 1, len(graph.nodes)):
        node = graph.nodes[index]
        reached = [name for name in node.input if name in below]
        if not reached:
            continue
        others = [name for name in graph.varying(node) if name not in below]
        if index > mixing and node.op_type == "Add" and len(others) == 1:
            stream = others[0] if others[0] in depends_on else stripped(graph, others[0])
            if stream in depends_on and graph.shapes[others[0]] == graph.shapes[node.output[0]]:
                query, key = graph.nodes[logits].input[:2]
                shape = graph.shapes[graph.nodes[softmax].output[0]]
                leading = 1
                for size in shape[:-2]:
                    leading *= size
                return Attention(
                    softmax,
                    mixing,
                    logits,
                    query,
                    key,
                    graph.nodes[mixing].input[1],
                    stream,
                    node.output[0],
                    leading // batch,
                )
        below.update(name for name in node.output if name)
    return "what follows is never added to what it was computed from (no residual)"


def _mixing(graph: PlainGraph, softmax: int) -> int | None:
    values = {graph.nodes[softmax].output[0]}
    for index in range(softmax + 1, len(graph.nodes)):
        node = graph.nodes[index]
        if not any(name in values for name in node.input):
            continue
        if node.op_type == "MatMul" and node.input[0] in values and not graph.is_constant(node.input[1]):
            return index
        if node.op_type not in _PROBABILITIES:
            return None
        values.update(node.output)
    return None


def _logits(graph: PlainGraph, softmax: int) -> int | None:
    """Up from a softmax, through scales and masks, to the product of two values that the image decides."""
    name = graph.nodes[softmax].input[0]
    for _ in range(16):
        index = graph.place.get(name)
        if index is None:
            return None
        node = graph.nodes[index]
        varying = graph.varying(node)
        if node.op_type == "MatMul" and len(varying) == 2:
            return index
        if not varying:
            return None
        name = varying[0] if len(varying) == 1 else next((v for v in varying if _square(graph, v)), varying[0])
    return None


def _square(graph: PlainGraph, name: str) -> bool:
    shape = graph.shapes[name]
    return len(shape) > 1 and shape[-1] == shape[-2]


def stripped(graph: PlainGraph, name: str) -> str:
    """The value behind changes of layout."""
    node = graph.maker(name)
    while node is not None and node.op_type in LAYOUT and graph.varying(node)[:1] == [node.input[0]]:
        name = node.input[0]
        node = graph.maker(name)
    return name


def entering_axes(graph: PlainGraph, name: str, tokens: int, batch: int) -> tuple[Axis, ...] | None:
    """Axes of the residual stream: (B, N, C), (N, B, C) or rows (B N, C); None where it is none of them."""
    shape = graph.shapes[name]
    token, one = Axis(1, 0), [Axis(0, size) for size in shape]
    if len(shape) == 3 and shape[:2] == (batch, tokens):
        return (one[0], token, one[2])
    if len(shape) == 3 and shape[:2] == (tokens, batch):
        return (token, one[1], one[2])
    if len(shape) == 2 and shape[0] == batch * tokens:
        return (Axis(batch, 0), one[1])
    return None


def blocks_of(
    graph: PlainGraph, attentions: Sequence[Attention], prefix: int | None, batch: int, end: str | None, path: str
) -> list[FileBlock]:
    """The blocks of these attentions, followed through with any number of tokens.

    Args:
        graph, path: Of the file.
        attentions: In order.
        prefix: Tokens ahead of the patches, as far as they are known.
        batch: Images.
        end: A value up to which the last block reaches; None: its last residual.

    Raises:
        NotRecognised: The node that stands in the way, and why.
    """
    tokens = graph.shapes[graph.nodes[attentions[0].softmax].output[0]][-1]
    blocks = []
    for number, attention in enumerate(attentions):
        following = attentions[number + 1].entering if number + 1 < len(attentions) else None
        blocks.append(_block(graph, attention, following, (tokens, prefix, batch), end, f"{path}: block {number + 1}"))
    return blocks


def _block(
    graph: PlainGraph,
    attention: Attention,
    following: str | None,
    counts: tuple[int, int | None, int],
    end: str | None,
    where: str,
) -> FileBlock:
    tokens, prefix, batch = counts
    axes = entering_axes(graph, attention.entering, tokens, batch)
    if axes is None:
        shape = list(graph.shapes[attention.entering])
        problem = (
            f"attention is over {tokens} x {tokens} tokens, and the residual stream is {shape}: windows, or a hierarchy"
        )
        raise NotRecognised(where, problem, "attention over all tokens was looked for; windowed models are not reduced")
    attending = _between(graph, attention.entering, attention.leaving, where)
    normed = graph.above([attention.query], [attention.entering])
    if not any(graph.nodes[index].op_type in _NORMS for index in normed):
        problem = (
            "its queries are computed from the residual stream without a norm (post-norm), and a norm was looked for"
        )
        raise NotRecognised(where, problem, "pre-norm blocks alone are reduced")
    last = following or end or _last_residual(graph, attention.leaving, where)
    finishing = _between(graph, attention.leaving, last, where)
    follower = TokenAxes(graph, tokens, prefix, (attention.softmax, attention.mixing))
    follower.axes[attention.entering] = axes
    try:
        follower.follow(attending | finishing)
    except NotRecognised as error:
        raise NotRecognised(f"{where}: {error.where}", error.problem, error.remedy) from None
    if follower.axes[attention.leaving] != axes or follower.axes[last] != axes:
        problem = (
            f"tokens leave it as {list(graph.shapes[last])}, and entered as {list(graph.shapes[attention.entering])}"
        )
        raise NotRecognised(where, problem, "blocks that keep their tokens were looked for")
    if any(index in finishing for index, _ in follower.tables):
        raise NotRecognised(where, "a constant with a row per token is used in its MLP", "no such blocks are reduced")
    return FileBlock(attention, last, frozenset(attending), frozenset(finishing), follower)


def _between(graph: PlainGraph, start: str, end: str, where: str) -> set[int]:
    """The nodes from one value to another, which must depend on the image through the first alone."""
    inside = graph.above([end], [start])
    leaks = [name for name in graph.inputs_of(inside) if name != start]
    earlier = graph.above([start])
    beside = sorted(index for index in inside if index in earlier)
    if graph.input in leaks or beside:
        reader = _reader(graph, inside - set(beside), earlier)
        problem = f"{label_of(reader)} reads something beside the residual stream '{start}'"
        raise NotRecognised(
            where, problem, "blocks in a row were looked for; parallel branches and skips are not reduced"
        )
    return inside


def _reader(graph: PlainGraph, inside: set[int], earlier: set[int]) -> onnx.NodeProto:
    for index in sorted(inside):
        if any(graph.place.get(name) in earlier for name in graph.varying(graph.nodes[index])):
            return graph.nodes[index]
    return graph.nodes[min(inside | earlier)]


def _last_residual(graph: PlainGraph, leaving: str, where: str) -> str:
    """The end of the last block: the first sum of ``leaving`` with what depends on it."""
    reached = {leaving}
    for index in graph.below(leaving):
        node = graph.nodes[index]
        varying = graph.varying(node)
        if node.op_type == "Add" and len(varying) == 2 and {stripped(graph, name) for name in varying} != {leaving}:
            for own, other in (varying, varying[::-1]):
                if stripped(graph, own) == leaving and other in reached:
                    return node.output[0]
        reached.update(node.output)
    raise NotRecognised(where, "no residual follows its attention", "name the place: --unmerge-before VALUE")
