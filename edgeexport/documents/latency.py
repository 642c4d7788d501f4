"""A latency table (``--latency-table``): milliseconds of a model's parts by token count."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Line
from edgeexport.documents.reading import Inconsistent, Kind
from edgeexport.errors import UsageError

__all__ = ["LATENCY_TABLE", "LATENCY_TABLE_SCHEMA", "LatencyDocument"]

LATENCY_TABLE_SCHEMA = "edgeexport.latency_table/1"

_Ms = Annotated[float, Meta(ge=0, le=1e12)]
_Points = Annotated[
    dict[Annotated[str, Meta(pattern=r"\A0*[1-9][0-9]{0,7}\Z")], _Ms], Meta(min_length=1, max_length=2**16)
]


class LatencyDocument(TypedDict, total=False):
    """The document; see `edgeexport.calibration.latency_table`."""

    schema: Required[str]
    provenance: Required[Literal["measured", "predicted"]]
    device: Required[Annotated[Line, Meta(min_length=1)]]
    block_ms: Required[_Points]
    head_ms: Required[_Points]
    policy_ms: _Ms | None
    fixed_ms: Required[_Ms]
    model: dict[str, Any] | None


def _check(table: LatencyDocument) -> None:
    for name, points in (("block_ms", table["block_ms"]), ("head_ms", table["head_ms"])):
        counts = [int(tokens) for tokens in points]
        for count in counts:
            if counts.count(count) > 1:
                raise Inconsistent(name, f"has {count} tokens twice, expected distinct token counts")


LATENCY_TABLE: Kind[LatencyDocument] = Kind(
    LatencyDocument,
    LATENCY_TABLE_SCHEMA,
    remedy="write it as `python -m benchmarks block-table` does",
    error=UsageError,
    check=_check,
)
