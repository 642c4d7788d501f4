"""What runtimes and their tools write of an engine's layers and their times: engine.profile.json, engine.graph.json, traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta
from typing_extensions import NotRequired, Required, TypedDict

from edgeexport.documents.limits import Count, Figure
from edgeexport.documents.reading import Kind

__all__ = ["ENGINE_GRAPH", "ENGINE_PROFILE", "RUN_EVENTS", "EngineGraph", "Event", "Record"]

_LARGEST = 1 << 30
_REMEDY = "profile again, or export it again from TensorRT"


class Event(TypedDict):
    """One of ONNX Runtime's profiler, in microseconds."""

    name: str
    ts: NotRequired[Count]
    dur: NotRequired[Count]
    cat: NotRequired[str]
    args: NotRequired[dict[str, Any]]


class Record(TypedDict, total=False):
    """One of `trtexec --exportProfile`, or what `edgeexport profile` adds."""

    count: Annotated[int, Meta(ge=0, le=2**31)]
    name: str
    timeMs: Figure
    averageMs: Figure


class Layer(TypedDict, total=False):
    """One of a DETAILED engine."""

    Name: str
    LayerType: str
    Metadata: str | None


class Io(TypedDict, total=False):
    """An input or output."""

    Name: str


_Ios = list[Io | str]
# Some keys have characters that no name in Python has.
EngineGraph = TypedDict(
    "EngineGraph", {"Layers": Required[list[Layer | str]], "Bindings": _Ios, "I/O Tensors": _Ios}, total=False
)

# trtexec writes names as they are, control characters among them.
RUN_EVENTS: Kind[Sequence[Event]] = Kind(list[Event], largest=_LARGEST, remedy="write it again", loose=True)
ENGINE_PROFILE: Kind[list[Record]] = Kind(list[Record], largest=_LARGEST, remedy=_REMEDY, loose=True)
ENGINE_GRAPH: Kind[EngineGraph] = Kind(EngineGraph, largest=_LARGEST, remedy=_REMEDY, loose=True)
