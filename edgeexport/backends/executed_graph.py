"""The nodes of an ONNX file, read without the onnx package: names and values alone, weights are skipped.

ONNX Runtime saves the graph that it executes; its fused nodes keep the names of the values that they compute, by which
`edgeexport.profile.origins` traces them back.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeexport.errors import BundleError

__all__ = ["GraphNode", "nodes_from_onnx"]

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP = 1, 2, 3, 4

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Buffer = bytes | mmap.mmap


@dataclass(frozen=True)
class GraphNode:
    """A node that a runtime executes: its name there, operator, and the names of the values that it reads and writes."""

    name: str
    op_type: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def nodes_from_onnx(path: Path) -> tuple[GraphNode, ...]:
    """The main graph's nodes in the file's order.

    A nameless node is called ``<operator>_<position>``, as ONNX Runtime's profiler calls it when it loads the file as it is.

    Raises:
        BundleError: The file cannot be read, or is no ONNX model.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return tuple(_nodes(content))
    except OSError as error:
        raise BundleError(str(path), f"cannot be read ({error.strerror or error})", "build the engine again") from None
    except (ValueError, IndexError) as error:
        raise BundleError(str(path), f"is no ONNX model ({error})", "build the engine again") from None


def _nodes(content: _Buffer) -> Iterator[GraphNode]:
    for start, end in _messages(content, 0, len(content), _MODEL_GRAPH):
        for position, (first, last) in enumerate(_messages(content, start, end, _GRAPH_NODE)):
            texts: dict[int, list[str]] = {}
            for field, begin, stop in _fields(content, first, last):
                if field in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP):
                    texts.setdefault(field, []).append(content[begin:stop].decode("utf-8"))
            op_type = "".join(texts.get(_NODE_OP, ()))
            yield GraphNode(
                name="".join(texts.get(_NODE_NAME, ())) or f"{op_type}_{position}",
                op_type=op_type,
                inputs=tuple(texts.get(_NODE_INPUT, ())),
                outputs=tuple(texts.get(_NODE_OUTPUT, ())),
            )


def _messages(content: _Buffer, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the fields of one number stand that hold a message."""
    return ((begin, stop) for field, begin, stop in _fields(content, start, end) if field == wanted)


def _fields(content: _Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of every length-delimited field of a message; all others are passed over."""
    at = start
    while at < end:
        key, at = _varint(content, at)
        kind = key & 7
        if kind == _BYTES:
            size, at = _varint(content, at)
            if at + size > end:
                raise ValueError(f"a field at byte {at} ends behind its message")
            yield key >> 3, at, at + size
            at += size
        elif kind == _VARINT:
            _, at = _varint(content, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {at}")


def _varint(content: _Buffer, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number at byte {at} has no end")
