"""kernels.json: the kernels that a compiled graph launches; and what the manifest says of them, whether the reduction pays."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Count, Line, Name, Text
from edgeexport.documents.reading import Inconsistent, Kind

__all__ = ["KERNELS", "KERNELS_SCHEMA", "Kernels", "Pays", "Plan", "Row", "Tensor"]

KERNELS_SCHEMA = "edgeexport.kernels/1"

_Model = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_]{0,31}\Z")]
"""'reduced', 'dense' or 'policy', or of a bundle that lists several graphs the name of one."""
_Precision = Literal["fp32", "fp16"]
_Ms = Annotated[float, Meta(gt=0, le=1e12)]
_DType = Annotated[str, Meta(pattern=r"\A(bool|u?int(8|16|32|64)|b?float16|float(32|64))\Z")]
_Sizes = Annotated[list[Annotated[int, Meta(ge=1, le=2**31)]], Meta(max_length=16)]
_Strides = Annotated[list[Count], Meta(max_length=16)]

Tensor = tuple[Line, _DType, _Sizes, _Strides, Count]
"""Name, dtype, shape, strides (empty: row by row), bytes."""

_Tensors = Annotated[list[Tensor], Meta(max_length=4096)]

# `in` is a keyword of Python, so that the fields are given as a dict. What is empty is left out of a row.
Row = TypedDict(
    "Row",
    {
        "kind": Required[
            Literal["attention", "convolution", "product", "generated", "pooling", "plugin", "signal", "wait"]
        ],
        "stream": Required[Annotated[int, Meta(ge=0, le=2**16)]],
        "event": Count,
        "operation": Line,
        "part": Line,
        "macs": Count,
        "dtype": _DType,
        "values": Count,
        "bytes": Count,
        "calls": list[Line],
        "nodes": list[Line],
        "in": _Tensors,
        "const": _Tensors,
        "out": _Tensors,
    },
    total=False,
)


class Plan(TypedDict, total=False):
    """The plan of one graph."""

    model: Required[_Model]
    precision: Required[_Precision]
    architecture: Required[Line]
    compiler: Required[Line]
    macs: Required[Count]
    launches: Required[dict[Line, Annotated[list[Name], Meta(min_length=1, max_length=64)]]]
    rows: Required[Annotated[list[Row], Meta(max_length=1 << 16)]]
    with_plugins: Annotated[list[Row], Meta(max_length=1 << 16)]
    not_around: Text
    composed: bool
    kernels: Count
    bytes: Annotated[int, Meta(ge=0)]
    product_dtypes: dict[Line, Count]


class Kernels(TypedDict, total=False):
    """The document."""

    schema: Required[str]
    provenance: Line
    convention: Text
    missing: Required[Annotated[list[Text], Meta(max_length=64)]]
    plans: Required[Annotated[list[Plan], Meta(max_length=128)]]


class Counts(TypedDict):
    """Of the bundle's model and of its dense form."""

    reduced: Count
    dense: Count


class PredictedBoth(TypedDict):
    """Latency of one run in a precision and a power mode."""

    precision: _Precision
    power_mode: Line
    reduced_ms: _Ms
    dense_ms: _Ms
    reduced_cuda_graph_ms: _Ms
    dense_cuda_graph_ms: _Ms


class Accelerator(TypedDict):
    """The policy network on a deep-learning accelerator, at least, and both per image."""

    policy_at_least_ms: _Ms
    one_after_the_other_ms: _Ms
    beside_the_gpu_ms: _Ms


class PredictedPolicy(TypedDict, total=False):
    """A policy network with a graph of its own, the model, and both per image where it runs for every n-th."""

    precision: Required[_Precision]
    power_mode: Required[Line]
    policy_ms: Required[_Ms]
    model_ms: Required[_Ms]
    every: Required[dict[Line, _Ms]]
    accelerator: Accelerator


class PaysPolicy(TypedDict):
    """The manifest's ``pays.policy``."""

    every: Annotated[list[Annotated[int, Meta(ge=1, le=4096)]], Meta(max_length=16)]
    accelerator: Text
    predicted: Annotated[list[PredictedPolicy], Meta(max_length=64)]


class Pays(TypedDict, total=False):
    """The manifest's ``pays``."""

    provenance: Line
    macs: Required[Counts]
    composed: Required[bool]
    kernels: Required[dict[_Precision, Counts]]
    predicted: Required[Annotated[list[PredictedBoth], Meta(max_length=64)]]
    policy: PaysPolicy | None


def _check(kernels: Kernels) -> None:
    for index, plan in enumerate(kernels["plans"]):
        for key, rows in (("rows", plan["rows"]), ("with_plugins", plan.get("with_plugins", ()))):
            for number, row in enumerate(rows):
                problem = _problem(row, plan)
                if problem:
                    raise Inconsistent(f"plans[{index}].{key}[{number}]", problem)


def _problem(row: Row, plan: Plan) -> str:
    if (row["kind"] in ("signal", "wait")) != ("event" in row):
        return "events belong to signals and waits"
    if not set(row.get("calls", ())) <= plan["launches"].keys():
        return "calls an op that launches does not name"
    if row.get("macs") and "dtype" not in row:
        return "has products and no dtype"
    outputs = row.get("out", ())
    if row["kind"] == "attention" and row.get("macs") and not (outputs and outputs[0][2]):
        return "is an attention without a result"
    tensors = [tensor for key in ("in", "const", "out") for tensor in row.get(key, ())]  # type: ignore[attr-defined]
    unlike = next((name for name, _, shape, strides, _ in tensors if strides and len(strides) != len(shape)), None)
    return "" if unlike is None else f"shape and strides of {unlike} differ in length"


KERNELS: Kind[Kernels] = Kind(Kernels, KERNELS_SCHEMA, largest=256 << 20, check=_check)
