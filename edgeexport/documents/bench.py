"""bench.json: what was measured, how, on what, and under which conditions; and what a device prints of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.limits import Batch, Count, Figure, Line, Name, Share, Text
from edgeexport.documents.reading import Inconsistent, Kind

__all__ = ["BENCH", "BENCH_SCHEMA", "LAYERS_SCHEMA", "PROFILE_ANSWER", "Bench"]

BENCH_SCHEMA, LAYERS_SCHEMA = "edgeexport.bench/1", "edgeexport.layers/1"

_AGAIN = "profile the bundle again: edgeexport profile BUNDLE"

_Ms = Annotated[float, Meta(ge=0, le=1e12)]
_Statistic = Annotated[str, Meta(pattern=r"\A(mean|min|max|cv|n|p\d{1,3}(\.\d{1,12})?)\Z")]
_Step = Annotated[str, Meta(pattern=r"\A(compute|enqueue|transfer|end_to_end)\Z")]
Rows = dict[_Step, dict[_Statistic, _Ms | None] | None]


class Model(TypedDict, total=False):
    """What was timed."""

    folder: Line
    name: Line
    target: Line | None
    precision: Line | None
    weights: Text | None
    manifest_sha256: Line | None
    batch: Batch


class Jetson(TypedDict, total=False):
    """A Jetson's model and release."""

    model: Line
    l4t: Line | None
    jetpack: Line | None


class Machine(TypedDict, total=False):
    """What it ran on."""

    name: Line
    machine: Line
    compute_capability: Line | None
    board: Line | None
    jetson: Jetson | None


class Clock(TypedDict, total=False):
    """`edgeexport.device.clocks.Clock`."""

    name: Line
    drives: Line
    current_hz: Count | None
    min_hz: Count | None
    max_hz: Count | None
    pinned: bool


class Temperature(TypedDict, total=False):
    """A thermal zone."""

    name: Line
    celsius: Figure
    passive_c: Figure | None


class PowerMode(TypedDict, total=False):
    """nvpmodel's."""

    id: Count
    name: Line | None


class Reading(TypedDict, total=False):
    """`edgeexport.device.conditions.Conditions`."""

    power_mode: PowerMode | None
    online_cpus: Line | None
    clocks: list[Clock]
    temperatures: list[Temperature]
    throttling: dict[str, Any] | None
    load_average: Figure | None


class Conditions(TypedDict, total=False):
    """Before and after."""

    known: bool
    loose_clocks: list[Line]
    readings: Count
    before: Reading
    after: Reading


class Protocol(TypedDict, total=False):
    """How it was measured."""

    warmup_ms: _Ms
    duration_s: _Ms
    iterations: Count
    percentiles: list[Figure]
    pairs: Count
    input: Line
    warmup_runs: Count
    runs: Count
    seconds: _Ms
    cuda_graph: bool | None
    transfers: bool
    clipped: Count


class PairedProtocol(TypedDict, total=False):
    """How two were measured against each other."""

    pairs: Count
    runs_per_block: Count
    lead_in_runs: Count
    warmup_runs: dict[str, Count]
    seconds: _Ms
    statistic: Line


class Speedup(TypedDict, total=False):
    """`edgeexport.profile.statistics.Speedup`."""

    estimate: _Ms
    low: _Ms
    high: _Ms
    confidence: Share
    rounds: Count
    method: Line
    verdict: Line


class Difference(TypedDict):
    """In what baseline and candidate differ besides the model."""

    what: Line
    baseline: Line
    candidate: Line


class Baseline(TypedDict, total=False):
    """A comparison in alternating blocks."""

    bundle: Model
    engine: Line
    engine_sha256: Line | None
    engine_options: dict[str, Any] | None
    protocol: PairedProtocol
    conditions: Conditions
    rows: Required[dict[Annotated[str, Meta(pattern=r"\A(baseline|candidate)\Z")], Rows]]
    speedup: Speedup
    differences: list[Difference]


class Watts(TypedDict, total=False):
    """One rail."""

    load_w: Figure
    idle_w: Figure


class Power(TypedDict, total=False):
    """`edgeexport.profile.energy.Energy`."""

    provenance: Line
    inferences: Count
    seconds: _Ms
    gross_mj: Figure
    net_mj: Figure
    load_w: Figure
    idle_w: Figure
    rails: dict[Line, Watts]
    total: list[Line]
    covers: Line
    rate_hz: Figure
    longest_gap_s: _Ms
    sensor_average_ms: Figure | None
    settling_s: _Ms
    samples: Line


class Part(TypedDict, total=False):
    """One part of the model, measured or predicted."""

    part: Required[Name]
    title: Line
    ms: Required[_Ms]
    share: Share
    macs: Count
    bytes: Count
    nodes: Count
    layers: Count
    launches: Count
    bound: Line


class Layers(TypedDict, total=False):
    """The runtime's profile, divided between the parts."""

    schema: Line
    provenance: Line
    method: Text
    backend: Line
    runs: Count
    total_ms: _Ms
    attributed_share: Share
    attributed_by: dict[str, Share]
    divided_share: Share
    parts: Annotated[list[Part], Meta(max_length=2**16)]


class Ceiling(TypedDict):
    """A limit, and where it is from."""

    value: Figure
    kind: Line
    source: Text


class Ceilings(TypedDict, total=False):
    """The limits of a device in one power mode."""

    target: Line
    power_mode: Line
    giga_macs_per_s: dict[Line, Ceiling]
    gigabytes_per_s: Ceiling
    launch_us: Ceiling
    value_ns: dict[Line, Ceiling]


class Prediction(TypedDict, total=False):
    """`edgeexport.cost.roofline.Prediction`."""

    provenance: Line
    model: Text
    backend: Line
    target: Line
    power_mode: Line
    total_ms: _Ms
    launches: Count
    bound_ms: dict[Line, _Ms]
    parts: Annotated[list[Part], Meta(max_length=2**16)]
    ceilings: Ceilings


class Samples(TypedDict, total=False):
    """In the order of time."""

    compute: list[_Ms]


class GraphRows(TypedDict, total=False):
    """One of several graphs, ahead of the one that the document is about."""

    engine: Line
    rows: Required[Rows]


class Bench(TypedDict, total=False):
    """The document."""

    schema: Line
    provenance: Line
    measured_at: Line
    bundle: Model
    backend: Line
    engine: Line
    engine_sha256: Line | None
    engine_options: dict[str, Any] | None
    versions: dict[Line, Line]
    device: Machine
    conditions: Conditions
    stable: bool
    instabilities: list[Text]
    notes: list[Text]
    protocol: Protocol
    rows: Rows
    samples: Samples | None
    images_per_second: _Ms
    baseline: Baseline | None
    power: Power | None
    predicted: Prediction | None
    no_prediction: Text
    layers: Layers | None
    graphs: Annotated[dict[Name, GraphRows], Meta(max_length=64)]


def _check(bench: Bench) -> None:
    rows, baseline = bench.get("rows"), bench.get("baseline")
    for place, steps in [*([] if rows is None else [("rows", rows)]), *_paired(baseline)]:
        if steps.get("compute") is None:
            raise Inconsistent(f"{place}.compute", "is null, expected the statistics of the compute time")
        for step, row in steps.items():
            for name, value in (row or {}).items():
                if value is None and name != "cv":
                    raise Inconsistent(f"{place}.{step}.{name}", "is null, expected a number")


def _paired(baseline: Baseline | None) -> Iterator[tuple[str, Rows]]:
    for which in ("baseline", "candidate") if baseline is not None else ():
        yield f"baseline.rows.{which}", baseline["rows"][which]  # type: ignore[index]


def _check_answer(bench: Bench) -> None:
    for key in sorted(Bench.__annotations__.keys() - bench.keys() - {"graphs", "no_prediction", "engine_sha256"}):
        raise Inconsistent("", f"lacks {key}")
    if bench["schema"] != BENCH_SCHEMA:
        raise Inconsistent("schema", f"is {bench['schema']!r}, expected {BENCH_SCHEMA!r}")
    _check(bench)


BENCH: Kind[Bench] = Kind(Bench, remedy=_AGAIN, largest=256 << 20, check=_check)
PROFILE_ANSWER: Kind[Bench] = Kind(
    Bench, remedy="install the same version there", largest=256 << 20, check=_check_answer
)
"""What `edgeexport profile --json` prints on a device: the whole document."""
