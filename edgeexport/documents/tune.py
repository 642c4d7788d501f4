"""Lines of a study file of ``edgeexport tune``: what each form gave for some of the images."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.fidelity import Compared, compared
from edgeexport.documents.limits import ElementCount, Text
from edgeexport.documents.progress import LONGEST_LINE
from edgeexport.documents.reading import Inconsistent, Kind
from edgeexport.errors import UsageError

__all__ = ["STUDY_SCHEMA", "TRIED", "Tried"]

STUDY_SCHEMA = "edgeexport.tune_study/1"


class Tried(TypedDict, total=False):
    """Images ``first`` to ``last`` (the latter left out) of the folder, in one form, beside the dense model.

    ``run``: 'torch', or the precision of the graph that ONNX Runtime ran.
    """

    form: Required[Text]
    run: Required[Literal["torch", "fp32", "fp16"]]
    first: Required[ElementCount]
    last: Required[ElementCount]
    images: Required[Annotated[list[Compared], Meta(max_length=2**16)]]


def _check(entry: Tried) -> None:
    if len(entry["images"]) != entry["last"] - entry["first"]:
        raise Inconsistent("images", f"has {len(entry['images'])} for {entry['first']} to {entry['last']}")
    check = compared().check
    assert check is not None
    for image in entry["images"]:
        check(image)


TRIED: Kind[Tried] = Kind(Tried, remedy="give another --out-dir", largest=LONGEST_LINE, error=UsageError, check=_check)
