"""fidelity.json, what a model keeps of another's outputs; and the lines of its progress file."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from typing_extensions import TypedDict

from edgeexport.documents.limits import Count, ElementCount, Figure, Line, Text
from edgeexport.documents.progress import LONGEST_LINE
from edgeexport.documents.reading import Inconsistent, Kind
from edgeexport.errors import UsageError

__all__ = ["COMPARED", "FIDELITY", "FIDELITY_SCHEMA", "Compared", "Fidelity"]

FIDELITY_SCHEMA = "edgeexport.fidelity/1"


class Mean(TypedDict, total=False):
    """A mean over images with its interval; None on a single image."""

    kind: Line
    mean: Figure
    low: Figure | None
    high: Figure | None
    method: Line | None


class Accuracy(TypedDict, total=False):
    """Percent of images that are told rightly."""

    reduced: Mean
    against: Mean
    difference: Mean


class Fidelity(TypedDict, total=False):
    """The document."""

    schema: str
    provenance: Line
    conventions: dict[str, Text]
    subject: Line
    kind: Line
    recipe: Line
    weights: dict[str, Any]
    against: Line
    runtime: Line
    macs: Count
    against_macs: Count
    data: Text
    data_sha256: Line
    images: Count
    classes: list[Line]
    neighbours: Count
    figures: dict[Line, Mean]
    accuracy: dict[Line, Accuracy]
    not_told: dict[Line, Text]
    left_out: list[dict[str, Text]]
    versions: dict[Line, Line]


_Vector = Annotated[list[Figure], Meta(min_length=1, max_length=2**20)]


class Compared(TypedDict, total=False):
    """One image in both models, or one that was left out."""

    left_out: Line
    problem: Text
    name: Line
    figures: dict[Line, Figure]
    ranks: tuple[ElementCount, ElementCount] | None
    vectors: tuple[_Vector, _Vector] | None


def _check(entry: Compared) -> None:
    for key in ("problem",) if "left_out" in entry else ("name", "figures", "ranks", "vectors"):
        if key not in entry:
            raise Inconsistent("", f"lacks {key}")
    vectors = entry.get("vectors")
    if vectors and len(vectors[0]) != len(vectors[1]):
        raise Inconsistent("vectors", f"have {len(vectors[0])} and {len(vectors[1])} entries, expected as many")


FIDELITY: Kind[Fidelity] = Kind(
    Fidelity, FIDELITY_SCHEMA, remedy="evaluate again: edgeexport evaluate BUNDLE --data DIR --against dense"
)
COMPARED: Kind[Compared] = Kind(
    Compared, remedy="begin anew with --restart", largest=LONGEST_LINE, error=UsageError, check=_check
)
