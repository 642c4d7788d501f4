"""What a single value of a document may be: the types that the models are put together from."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

__all__ = [
    "DEEPEST",
    "Batch",
    "Colour",
    "Count",
    "Digest",
    "ElementCount",
    "Figure",
    "FileName",
    "Line",
    "Name",
    "RelativePath",
    "Share",
    "Side",
    "Text",
]

DEEPEST = 48
"""Lists and objects inside each other; a document of ours has 10 at most."""

_STEP = r"(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f]{1,255}"
_LINE = r"\A[^\x00-\x1f\x7f\u2028\u2029]*\Z"

Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
"""How many: of tokens, of multiply-accumulates, of bytes. Up to what a float holds exactly."""

ElementCount: TypeAlias = Annotated[int, Meta(ge=0, le=2**24)]
"""One entry of a shape, a number of tokens, or an index."""

Side: TypeAlias = Annotated[int, Meta(ge=1, le=2**15)]
"""Pixels or patches along one side."""

Batch: TypeAlias = Annotated[int, Meta(ge=1, le=2**16)]
"""Images that run together."""

Figure: TypeAlias = Annotated[float, Meta(ge=-1e15, le=1e15)]
"""A measured or computed number of any sign."""

Share: TypeAlias = Annotated[float, Meta(ge=-1.001, le=1.001)]
"""A share, a cosine, a Jaccard index; rounding may leave it a little beyond 1."""

Text: TypeAlias = Annotated[str, Meta(max_length=1 << 16)]
"""Text for people; may have several lines."""

Line: TypeAlias = Annotated[str, Meta(max_length=4096, pattern=_LINE)]
"""Text in one line."""

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=512, pattern=_LINE)]
"""Name of a tensor, a node or a part of the model."""

FileName: TypeAlias = Annotated[str, Meta(pattern=rf"\A{_STEP}\Z")]
"""A file in the bundle folder itself."""

RelativePath: TypeAlias = Annotated[str, Meta(max_length=1024, pattern=rf"\A{_STEP}(/{_STEP})*\Z")]
"""A file below the bundle folder, such as 'plugins/registry.cpp'."""

Digest: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""Hex sha256."""

Colour: TypeAlias = tuple[
    Annotated[int, Meta(ge=0, le=255)], Annotated[int, Meta(ge=0, le=255)], Annotated[int, Meta(ge=0, le=255)]
]
"""Red, green, blue."""
