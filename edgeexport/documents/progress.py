"""Lines of the progress files of evaluations and calibrations: what an interrupted run has finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Count, ElementCount, Line, Text
from edgeexport.documents.reading import Inconsistent, Kind
from edgeexport.errors import UsageError

__all__ = [
    "HEADER",
    "LONGEST_LINE",
    "OBSERVED",
    "Header",
    "Observation",
    "StageSeen",
    "candidate",
    "measured",
    "published",
]

LONGEST_LINE = 64 << 20

_Pixels = Annotated[list[Count], Meta(max_length=2**16)]
_Row = tuple[Annotated[int, Meta(ge=0, lt=2**16)], Count, Count, Count]
_Areas = Annotated[list[_Row], Meta(max_length=2**16)]
_Flags = Annotated[str, Meta(pattern=r"\A[01]*\Z")]
_Block = Annotated[int, Meta(ge=1, le=2**15)]
_BlockKey = Annotated[str, Meta(pattern=r"\A[1-9]\d{0,4}\Z")]
_Tokens = Annotated[list[ElementCount], Meta(min_length=1, max_length=4096)]

Entry = TypeVar("Entry")


class Header(TypedDict):
    """The first line: what the others belong to."""

    schema: Line
    key: dict[str, Text]


class Measured(TypedDict, total=False):
    """Of an evaluation: one image in one execution, with pixels by class; or one that was left out."""

    left_out: Line
    problem: Text
    form: Line
    name: Line
    intersect: _Pixels
    prediction: _Pixels
    label: _Pixels
    tokens: _Tokens
    macs: Count


class StageSeen(TypedDict):
    """`edgeexport.calibration.stage_observation.StageObservation`."""

    block: _Block
    tokens: ElementCount
    protected: ElementCount
    confidence: list[Annotated[float, Meta(ge=0, le=1.001)]]
    wrong: _Flags | None
    protected_wrong: _Flags | None


class Observation(TypedDict):
    """`edgeexport.calibration.stage_observation.ImageObservation`."""

    name: Line
    shareable: ElementCount | None
    uniform: ElementCount | None
    stages: Annotated[list[StageSeen], Meta(max_length=4096)]


Observed = TypedDict("Observed", {"pass": Required[Line], "observation": Required[Observation]})


class Counts(TypedDict):
    """`edgeexport.calibration.counts.Counts`."""

    num_shared: ElementCount
    prune: dict[_BlockKey, ElementCount]


class Candidate(TypedDict):
    """One image under candidate counts."""

    measure: Line
    counts: Counts
    name: Line
    areas: _Areas


class Published(TypedDict):
    """One image in the published computation."""

    name: Line
    num_shared: ElementCount
    thresholds: dict[_BlockKey, Annotated[float, Meta(ge=-1, le=1e6)]]
    tokens: _Tokens
    macs: Count
    areas: _Areas


def measured(classes: int) -> Kind[Measured]:
    """Entries of an evaluation over so many classes."""
    blocks = _same_blocks()

    def check(entry: Measured) -> None:
        left_out = "left_out" in entry
        for key in ("problem",) if left_out else ("form", "name", "tokens", "macs"):
            if key not in entry:
                raise Inconsistent("", f"lacks {key}")
        for key in () if left_out else ("intersect", "prediction", "label"):
            if len(entry.get(key, ())) != classes:  # type: ignore[arg-type]
                raise Inconsistent(key, f"has not one count for each of {classes} classes")
        if not left_out:
            blocks(entry["tokens"])

    return _line(Measured, check)


def candidate(classes: int) -> Kind[Candidate]:
    """Entries of candidate counts, measured over so many classes."""
    return _line(Candidate, lambda entry: _check_areas(entry["areas"], classes))


def published(classes: int) -> Kind[Published]:
    """Entries of the published computation, measured over so many classes."""
    blocks = _same_blocks()

    def check(entry: Published) -> None:
        _check_areas(entry["areas"], classes)
        blocks(entry["tokens"])

    return _line(Published, check)


def _check_areas(areas: Sequence[Sequence[int]], classes: int) -> None:
    for number, (index, *_) in enumerate(areas):
        if index >= classes:
            raise Inconsistent(f"areas[{number}]", f"is of class {index}, there are {classes}")


def _same_blocks() -> Callable[[Sequence[int]], None]:
    """Refuses token counts of another number of blocks than those before."""
    known: list[int] = []

    def check(tokens: Sequence[int]) -> None:
        if not known:
            known.append(len(tokens))
        if known[0] != len(tokens):
            raise Inconsistent("tokens", f"has {len(tokens)} blocks, the lines before have {known[0]}")

    return check


def _check_observed(entry: Any) -> None:
    for number, stage in enumerate(entry["observation"]["stages"]):
        free, place = stage["tokens"] - stage["protected"], f"observation.stages[{number}]"
        lengths = {"confidence": free, "wrong": free, "protected_wrong": stage["protected"]}
        for key, expected in lengths.items():
            if stage[key] is not None and len(stage[key]) != expected:
                raise Inconsistent(f"{place}.{key}", f"has {len(stage[key])} entries, expected {expected}")


def _line(model: type[Entry], check: Any = None) -> Kind[Entry]:
    return Kind(model, remedy="begin anew with --restart", largest=LONGEST_LINE, error=UsageError, check=check)


HEADER: Kind[Header] = _line(Header)
OBSERVED: Kind[Any] = _line(Observed, _check_observed)
