"""work.json: what a graph has to do, node by node."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Count, Line, Text
from edgeexport.documents.reading import Inconsistent, Kind

__all__ = ["WORK", "WORK_SCHEMA", "Node", "Work"]

WORK_SCHEMA = "edgeexport.work/1"

_Bytes = dict[
    Annotated[str, Meta(pattern=r"\A(bool|u?int(8|16|32|64)|b?float16|float(32|64)|complex(64|128))\Z")], Count
]

# `in` is a keyword of Python, so that the fields are given as a dict. What is empty is left out of a node.
Node = TypedDict(
    "Node",
    {
        "name": Required[Line],
        "op": Required[Line],
        "part": Required[Line],
        "call": Line,
        "step": Line,
        "kind": Literal["product", "norm", "resize", ""],
        "macs": Count,
        "dtype": Line,
        "reads": _Bytes,
        "writes": _Bytes,
        "weights": _Bytes,
        "in": list[Line],
        "out": list[Line],
        "plugin": bool,
    },
    total=False,
)


class Work(TypedDict, total=False):
    """The document."""

    schema: Required[str]
    provenance: Line
    convention: Text
    calls: Required[Annotated[list[Node], Meta(max_length=1 << 18)]]
    steps: Annotated[list[Node], Meta(max_length=1 << 18)]
    nodes: Required[Annotated[list[Node], Meta(max_length=1 << 18)]]


def _check(work: Work) -> None:
    for number, call in enumerate(work["calls"]):
        if "plugin" not in call:
            raise Inconsistent(f"calls[{number}]", "lacks plugin")


WORK: Kind[Work] = Kind(Work, WORK_SCHEMA, largest=256 << 20, check=_check)
