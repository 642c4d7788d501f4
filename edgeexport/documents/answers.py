"""What other processes print for us: edgeexport on a device, children on this machine, and a plugin library of itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.comparisons import Compared, Decision
from edgeexport.documents.limits import Count, Figure, Line, Text
from edgeexport.documents.reading import Inconsistent, Kind

__all__ = [
    "ANY_ANSWER",
    "BUILD_RECORD",
    "NAMES",
    "NAME_TEXTS",
    "RTX_VERDICT",
    "VERIFY_ANSWER",
    "VERSIONS",
    "VerifyAnswer",
]

_SAME_VERSION = "install the same version there"


class Versions(TypedDict):
    """`edgeexport version --json`."""

    edgeexport: Line
    bundle_schema: Line
    engine_schema: Line


class VerifyAnswer(TypedDict):
    """What is shown of `edgeexport verify --json`."""

    runner: Line
    original_not_run: Text
    comparisons: Annotated[list[Compared], Meta(max_length=2**16)]


class BuildRecord(TypedDict):
    """What a plugin library records about itself (plugins/registry.cpp)."""

    architectures: Annotated[list[Annotated[int, Meta(ge=10, le=1000)]], Meta(max_length=64)]
    cuda: Annotated[int, Meta(ge=0, le=10**6)]
    tensorrt: Line
    source_hash: Line


class RtxVerdict(TypedDict, total=False):
    """`edgeexport.backends.tensorrt_rtx.RtxCheck`, of the process that asks TensorRT-RTX."""

    status: Required[Line]
    version: Line | None
    reason: Text
    parse_s: Figure | None
    build_s: Figure | None
    engine_bytes: Count | None
    compute_capability: Line
    peak_rss_bytes: Count | None
    plan: list[str]


def _check_verify(answer: VerifyAnswer) -> None:
    needed = Compared.__annotations__.keys() - {"facts", "first_difference", "reason"}
    for number, item in enumerate(answer["comparisons"]):
        place = f"comparisons[{number}]"
        entries: list[tuple[str, Mapping[str, Any], Collection[str]]] = [(place, item, needed)]
        entries += [
            (f"{place}.outputs[{n}]", output, ("name", "passed")) for n, output in enumerate(item.get("outputs", ()))
        ]
        decision_needs = Decision.__annotations__.keys() - {"image", "allowed"}
        entries += [
            (f"{place}.decisions[{n}]", decision, decision_needs)
            for n, decision in enumerate(item.get("decisions", ()))
        ]
        for where, entry, keys in entries:
            for key in sorted(set(keys) - entry.keys()):
                raise Inconsistent(where, f"lacks {key}")


ANY_ANSWER: Kind[Any] = Kind(dict, remedy=_SAME_VERSION, largest=256 << 20)
VERSIONS: Kind[Versions] = Kind(Versions, remedy=_SAME_VERSION, largest=1 << 20)
VERIFY_ANSWER: Kind[VerifyAnswer] = Kind(VerifyAnswer, remedy=_SAME_VERSION, check=_check_verify)
BUILD_RECORD: Kind[BuildRecord] = Kind(BuildRecord, largest=1 << 20)
RTX_VERDICT: Kind[RtxVerdict] = Kind(RtxVerdict, largest=256 << 20)
NAMES: Kind[Sequence[str]] = Kind(list[str], largest=1 << 20)
NAME_TEXTS: Kind[Mapping[str, str]] = Kind(dict[str, str], largest=1 << 20)
