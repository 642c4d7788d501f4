"""parity.json and verify.json: executions compared, at the build and later."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Count, Line, Share, Text
from edgeexport.documents.reading import Kind

__all__ = ["PARITY", "PARITY_SCHEMA", "VERIFY", "VERIFY_SCHEMA", "Compared", "Parity", "Verify"]

PARITY_SCHEMA, VERIFY_SCHEMA = "edgeexport.parity/1", "edgeexport.verify/1"

_Error = Annotated[float, Meta(ge=0)]  # of float64 outputs; `reading` bounds it


class Output(TypedDict, total=False):
    """`edgeexport.verify.compare.OutputDifference`."""

    name: Line
    passed: bool
    max_abs: _Error | None
    max_rel: _Error | None
    cosine: Share | None
    agreement: Share | None
    differing: Count | None
    unexplained: Count | None
    not_finite: Count | None


class Decision(TypedDict, total=False):
    """`edgeexport.verify.compare.DecisionDifference`."""

    stage: Line
    equal: bool
    jaccard: Share
    tokens: Count
    differing: Count
    margin: float | None
    farthest: float | None
    image: Count
    allowed: float | None


class Compared(TypedDict, total=False):
    """`edgeexport.verify.compare.Comparison`."""

    check: Line
    reference: Line
    candidate: Line
    images: Annotated[list[Line], Meta(max_length=2**16)]
    status: Line
    reason: Text
    outputs: Annotated[list[Output], Meta(max_length=4096)]
    decisions: Annotated[list[Decision], Meta(max_length=2**16)]
    first_difference: Text
    facts: dict[str, Any]


class Parity(TypedDict, total=False):
    """parity.json."""

    schema: str
    weights: Text
    comparisons: Required[Annotated[list[Compared], Meta(max_length=2**16)]]


class Verify(TypedDict, total=False):
    """verify.json; the first version does not tell what was executed."""

    schema: str
    status: Line
    explanation: Text
    runner: Line
    engine: Line | None
    engine_sha256: Line | None
    manifest_sha256: Line | None
    engine_not_run: Line
    original_not_run: Text
    comparisons: Required[Annotated[list[Compared], Meta(max_length=2**16)]]


PARITY: Kind[Parity] = Kind(Parity)
VERIFY: Kind[Verify] = Kind(Verify, remedy="verify the bundle again: edgeexport verify BUNDLE")
