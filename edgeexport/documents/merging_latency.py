"""A latency table of a model that merges (``--latency-table``): milliseconds of a block's parts by token count."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Line
from edgeexport.documents.reading import Inconsistent, Kind
from edgeexport.errors import UsageError

__all__ = ["MERGING_LATENCY_TABLE", "MERGING_LATENCY_TABLE_SCHEMA", "MergingLatencyDocument"]

MERGING_LATENCY_TABLE_SCHEMA = "edgeexport.merging_latency_table/1"

_Ms = Annotated[float, Meta(ge=0, le=1e12)]
_Points = Annotated[
    dict[Annotated[str, Meta(pattern=r"\A0*[1-9][0-9]{0,7}\Z")], _Ms], Meta(min_length=1, max_length=2**16)
]
_PARTS = ("attention_ms", "mlp_ms", "merge_ms")


class MergingLatencyDocument(TypedDict, total=False):
    """The document; see `edgeexport.calibration.merging_latency`."""

    schema: Required[str]
    provenance: Required[Literal["measured", "predicted"]]
    device: Required[Annotated[Line, Meta(min_length=1)]]
    attention_ms: Required[_Points]
    mlp_ms: Required[_Points]
    merge_ms: Required[_Points]
    fixed_ms: Required[_Ms]
    model: dict[str, Any] | None


def _check(table: MergingLatencyDocument) -> None:
    for name in _PARTS:
        counts = [int(tokens) for tokens in table[name]]  # type: ignore[literal-required]
        for count in counts:
            if counts.count(count) > 1:
                raise Inconsistent(name, f"has {count} tokens twice, expected distinct token counts")


MERGING_LATENCY_TABLE: Kind[MergingLatencyDocument] = Kind(
    MergingLatencyDocument,
    MERGING_LATENCY_TABLE_SCHEMA,
    remedy="write it as `python -m benchmarks block-table` does for a recipe of a timm host",
    error=UsageError,
    check=_check,
)
