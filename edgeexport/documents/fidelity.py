"""fidelity.json, what a model keeps of another's outputs; and the lines of its progress file."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from typing_extensions import TypedDict

from edgeexport.documents.limits import Count, ElementCount, Figure, Line, Text
from edgeexport.documents.progress import LONGEST_LINE
from edgeexport.documents.reading import Inconsistent, Kind
from edgeexport.errors import UsageError

__all__ = ["FIDELITY", "FIDELITY_SCHEMA", "Compared", "Fidelity", "compared"]

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


def compared() -> Kind[Compared]:
    """Lines of one progress file: all vectors have as many entries."""
    known: list[int] = []

    def check(entry: Compared) -> None:
        for key in ("problem",) if "left_out" in entry else ("name", "figures", "ranks", "vectors"):
            if key not in entry:
                raise Inconsistent("", f"lacks {key}")
        for vector in entry.get("vectors") or ():
            known.append(len(vector))
            if known[0] != len(vector):
                raise Inconsistent("vectors", f"have {len(vector)} entries, those before have {known[0]}")

    remedy = "begin anew with --restart"
    return Kind(Compared, remedy=remedy, largest=LONGEST_LINE, error=UsageError, check=check)


FIDELITY: Kind[Fidelity] = Kind(
    Fidelity, FIDELITY_SCHEMA, remedy="evaluate again: edgeexport evaluate BUNDLE --data DIR --against dense"
)
