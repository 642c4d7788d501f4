"""The legend of a picture, as it travels in the picture's file and in report.html."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Colour, Side, Text
from edgeexport.documents.reading import Kind

__all__ = ["LEGEND", "LEGEND_SCHEMA", "LegendDocument"]

LEGEND_SCHEMA = "edgeexport.legend/1"

_Short = Annotated[str, Meta(max_length=4096)]


class Entry(TypedDict, total=False):
    """A line: text, value, and a swatch: filled, outlined, sides of several colours, or a brightness 0..1."""

    text: Required[_Short]
    value: _Short
    fill: Colour | None
    outline: Colour | None
    sides: Annotated[list[Colour], Meta(min_length=4, max_length=4)] | None
    shade: Annotated[float, Meta(ge=0, le=1)] | None


class Column(TypedDict):
    """Entries under a heading."""

    heading: _Short
    entries: Annotated[list[Entry], Meta(max_length=1024)]


class LegendDocument(TypedDict):
    """``width`` and ``height`` are those of the picture in the middle above its drawn legend, in pixels."""

    schema: str
    width: Side
    height: Side
    title: Text
    notice: Text
    columns: Annotated[list[Column], Meta(max_length=64)]


LEGEND: Kind[LegendDocument] = Kind(LegendDocument, LEGEND_SCHEMA, "draw the picture again", largest=1 << 18)
