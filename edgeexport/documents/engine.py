"""engine.json: where an engine comes from, and its files."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from typing_extensions import NotRequired, Required, TypedDict

from edgeexport.documents.limits import Count, ElementCount, Figure, FileName, Line, Text
from edgeexport.documents.reading import Kind

__all__ = ["ENGINE", "ENGINE_SCHEMA", "Engine"]

ENGINE_SCHEMA = "edgeexport.engine/1"


class Device(TypedDict, total=False):
    """What an engine runs on."""

    name: Required[Line]
    machine: Required[Line]
    compute_capability: Line | None
    board: Line | None


class Options(TypedDict, total=False):
    """`edgeexport.backends.contract.EngineOptions`, and what a backend and the machine add."""

    target: Line
    precision: Line
    workspace_mib: ElementCount | None
    plugins: bool
    cuda_graph: bool
    dla_core: ElementCount | None
    policy_dla_core: NotRequired[ElementCount | None]  # bundles of earlier versions have none
    threads: Annotated[int, Meta(ge=0, le=4096)] | None
    provider: Line | None
    power_mode: Line | None
    layers_by_type: dict[Line, Count] | None
    clocks: Any


class EngineFacts(TypedDict):
    """One engine."""

    schema: str
    backend: Line
    backend_version: Line
    target: Line
    precision: Line
    graph: FileName
    graph_sha256: Line
    plugins_sha256: Line | None
    device: Device
    options: Options
    build_seconds: Figure
    files: Annotated[dict[FileName, Line], Meta(min_length=1, max_length=64)]
    provenance: Text


class Engine(EngineFacts, total=False):
    """The document: the model's engine, the policy network's where it has one of its own; of several graphs the last one's,
    and those of the others.
    """

    policy: EngineFacts | None
    graphs: Annotated[dict[Line, EngineFacts], Meta(max_length=64)]


ENGINE: Kind[Engine] = Kind(Engine, ENGINE_SCHEMA, remedy="build the engine again: edgeexport build BUNDLE")
