"""evaluation.json: accuracy, tokens and work on labelled images, of every execution."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from edgeexport.documents.limits import Count, Figure, Line, Text
from edgeexport.documents.reading import Kind

__all__ = ["EVALUATION", "EVALUATION_SCHEMA", "Evaluated", "Reached"]

EVALUATION_SCHEMA = "edgeexport.evaluation/1"


class Reached(TypedDict, total=False):
    """What one execution reached."""

    miou: Figure | None
    pixel_accuracy: Figure | None
    mean_accuracy: Figure | None
    per_class_iou: dict[Line, Figure | None]
    tokens_mean: Figure
    tokens_per_block: list[Figure]
    macs_mean: Count
    images: Count
    settings: dict[str, Any]


class Evaluated(Reached, total=False):
    """The document; the top level has the figures of the execution that ``form`` names."""

    schema: str
    provenance: Line
    conventions: dict[str, Text]
    subject: Line
    kind: Line
    recipe: Line
    weights: dict[str, Any]
    data: Text
    split: Line | None
    data_sha256: Line
    reduce_zero_label: bool
    form: Line
    left_out: list[dict[str, Text]]
    forms: dict[Line, Reached]
    not_run: dict[Line, Text]
    versions: dict[Line, Line]


EVALUATION: Kind[Evaluated] = Kind(
    Evaluated, remedy="evaluate again: edgeexport evaluate BUNDLE --data DIR --out-dir BUNDLE"
)
