"""Predicted latency, and the ceilings that a profile on this machine gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work_cases import NODES, WORK, node

from edgeexport.backends.runner import NodeTime
from edgeexport.cost.ceilings import MEASURED, Ceiling, Ceilings, ceilings_of, power_modes
from edgeexport.cost.roofline import predict, predictions
from edgeexport.cost.work import GraphWork, NodeWork, read_work
from edgeexport.errors import MeasurementError, UsageError
from edgeexport.profile.measured_ceilings import ceilings_from_profile


def _ceilings(giga_macs: float, gigabytes: float, launch_us: float, **more: float) -> Ceilings:
    rates = {"float32": giga_macs, **more}
    return Ceilings(
        "orin",
        "MAXN",
        {dtype: Ceiling(value, MEASURED, "a test") for dtype, value in rates.items()},
        Ceiling(gigabytes, MEASURED, "a test"),
        Ceiling(launch_us, MEASURED, "a test"),
    )


_PRODUCT = GraphWork((node("p", "MatMul", "block_1", "x", "y", macs=2_000_000, weights={"float32": 199_200}),))


@pytest.mark.parametrize(
    ("giga_macs", "gigabytes", "launch_us", "ms", "bound"),
    [
        (1.0, 1000.0, 0.0, 2.0, "products"),
        (1e6, 0.1, 0.0, 2.0, "memory"),
        (1e6, 1e6, 30.0, 0.030002, "launch"),
        (1.0, 1000.0, 500.0, 2.5, "products"),
    ],
)
def test_the_slower_of_products_and_bytes(
    giga_macs: float, gigabytes: float, launch_us: float, ms: float, bound: str
) -> None:
    """2e6 multiply-accumulates, 2e5 bytes."""
    found = predict(_PRODUCT, _ceilings(giga_macs, gigabytes, launch_us))
    assert found.total_ms == pytest.approx(ms, rel=1e-3)
    assert found.kernels[0].bound == bound
    assert found.as_dict()["parts"][0]["bound"] == bound


def test_operators_that_go_value_by_value() -> None:
    """ArgMax goes through what it reads, Resize through what it writes; the slowest of the limits counts."""
    argmax = NodeWork("a", "ArgMax", "tail", reads={"float32": 4_000_000}, writes={"int64": 800})
    resize = NodeWork("r", "Resize", "tail", reads={"float32": 400}, writes={"float16": 4_000_000})
    assert (argmax.values, resize.values) == (1_000_000, 2_000_000)
    ceilings = replace(_ceilings(1.0, 100.0, 0.0), value_ns={"ArgMax": Ceiling(3.0, MEASURED, "a test")})
    found = predict(GraphWork((argmax, resize)), ceilings, backend="onnxruntime")
    assert [item.bound for item in found.kernels] == ["values", "memory"]
    assert found.kernels[0].ms == pytest.approx(3.0)
    assert found.kernels[1].ms == pytest.approx(4.0004e-2)
    assert found.as_dict()["bound_ms"]["values"] == pytest.approx(3.0)


def test_parts_add_up_and_bodies_differ_from_plugins() -> None:
    ceilings = _ceilings(1.0, 1.0, 5.0)
    fused, spelled = predict(WORK, ceilings), predict(WORK, ceilings, plugins=False)
    for found in (fused, spelled):
        document = found.as_dict()
        assert sum(part["ms"] for part in document["parts"]) == pytest.approx(document["total_ms"], abs=1e-4)
        assert sum(document["bound_ms"].values()) == pytest.approx(document["total_ms"], abs=1e-4)
        assert sum(part["launches"] for part in document["parts"]) == document["launches"] == len(found.kernels)
        assert sum(part["macs"] for part in document["parts"]) == 7000
    assert len(spelled.kernels) == len(fused.kernels) + 1
    # ONNX Runtime has no plugins.
    assert predict(WORK, ceilings, backend="onnxruntime") == predict(
        WORK, ceilings, backend="onnxruntime", plugins=False
    )


def test_always_labelled_with_its_ceilings() -> None:
    for target in ("orin", "orin-32gb", "orin-nx", "orin-nano", "thor"):
        found = predictions(WORK, target)
        assert [item.ceilings.power_mode for item in found] == list(power_modes(target))
        totals = [item.total_ms for item in found]
        assert totals == sorted(totals)  # the fastest mode first
        for item in found:
            document = item.as_dict()
            assert document["provenance"] == "predicted" and "roofline" in document["model"]
            assert document["target"] == target and document["power_mode"] == item.ceilings.power_mode
            assert (
                document["ceilings"]["gigabytes_per_s"]["source"]
                and document["ceilings"]["launch_us"]["kind"] == "assumed"
            )
            json.dumps(document, allow_nan=False)
    assert predictions(WORK, "cpu") == [] and predictions(WORK, "gpu") == []


def test_rate_by_dtype() -> None:
    ceilings = _ceilings(1.0, 1e6, 0.0, float16=4.0, tfloat32=2.0)
    half = GraphWork((node("p", "MatMul", "block_1", "x", "y", macs=2_000_000, dtype="float16"),))
    assert predict(half, ceilings).total_ms == pytest.approx(0.5)
    assert predict(_PRODUCT, ceilings).total_ms == pytest.approx(2.0)
    assert predict(_PRODUCT, ceilings, tf32=True).total_ms == pytest.approx(1.0)
    # Where that rate is not known, float32's is taken.
    assert predict(_PRODUCT, _ceilings(1.0, 1e6, 0.0), tf32=True).total_ms == pytest.approx(2.0)
    with pytest.raises(UsageError, match="float16"):
        predict(half, _ceilings(1.0, 1.0, 0.0))


def test_a_bundle(tiny_bundle: Path) -> None:
    work = read_work(tiny_bundle)
    assert work is not None
    found = predict(work, ceilings_of("orin", "30W")).as_dict()
    assert found["total_ms"] > 0
    parts = {part["part"]: part for part in found["parts"]}
    assert {"embedding", "block_1", "auxiliary_head_2", "prune_2", "decode_head", "tail"} <= set(parts)
    assert sum(part["macs"] for part in parts.values()) == sum(item.product_macs for item in work.nodes)


def _profile(product_ms: float, other_ms: float, profiler_ms: float) -> list[NodeTime]:
    """One product, one other node, three views, each with the profiler's own time on top."""
    times = [("Gemm", product_ms), ("Softmax", other_ms), ("Reshape", 0.0), ("Reshape", 0.0), ("Reshape", 0.0)]
    return [NodeTime(f"n{index}", op_type, ms + profiler_ms) for index, (op_type, ms) in enumerate(times)]


@settings(deadline=None)
@given(
    product_ms=st.floats(0.1, 100),
    other_ms=st.floats(0.1, 100),
    profiler_ms=st.floats(0, 1),
    run_ms=st.floats(0.5, 500),
    launch_us=st.floats(0, 20),
)
def test_calibration_predicts_what_it_was_made_from(
    product_ms: float, other_ms: float, profiler_ms: float, run_ms: float, launch_us: float
) -> None:
    times = _profile(product_ms, other_ms, profiler_ms)
    ceilings = ceilings_from_profile(WORK, times, run_ms, launch_us, target="cpu", name="a test")
    found = predict(WORK, ceilings, backend="onnxruntime")
    memory_bound = sum(item.ms for item in found.kernels if item.kernel.is_product and item.bound != "products")
    if memory_bound == 0:  # else the products' share cannot be reached, however fast they are
        assert found.total_ms == pytest.approx(run_ms, rel=1e-6)
    assert ceilings.gigabytes_per_s.kind == MEASURED and "a test" in ceilings.gigabytes_per_s.source


def test_calibration_tells_rates_apart() -> None:
    """Ten times the products' time: a tenth of the rate, and the same memory rate for the same time of the others."""
    slow = ceilings_from_profile(WORK, _profile(100.0, 10.0, 0.0), 110.0, 0.0, target="cpu", name="slow")
    fast = ceilings_from_profile(WORK, _profile(10.0, 10.0, 0.0), 20.0, 0.0, target="cpu", name="fast")
    assert slow.gigabytes_per_s.value == pytest.approx(fast.gigabytes_per_s.value)
    assert slow.product_rate("float32") == pytest.approx(7000 / 0.1, rel=1e-6)
    assert slow.product_rate("float32") < fast.product_rate("float32")


def test_what_is_timed_apart_is_taken_off_first() -> None:
    """The same profile with a Resize of 3 ms more: the same rates, and 3 ms more are predicted."""
    value_ns = {"Resize": Ceiling(3e5, MEASURED, "a test")}
    resize = NodeWork("a", "Resize", "tail", reads={"float32": 4}, writes={"float32": 40})
    more = replace(WORK, nodes=(*WORK.nodes, resize))
    times = [*_profile(10.0, 10.0, 0.0), NodeTime("a", "Resize", 2.0)]
    plain = ceilings_from_profile(WORK, _profile(10.0, 10.0, 0.0), 20.0, 0.0, target="cpu", name="plain")
    found = ceilings_from_profile(more, times, 23.0, 0.0, value_ns, target="cpu", name="more")
    assert found.gigabytes_per_s.value == pytest.approx(plain.gigabytes_per_s.value)
    assert found.product_rate("float32") == pytest.approx(plain.product_rate("float32"))
    assert predict(more, found, backend="onnxruntime").total_ms == pytest.approx(23.0, rel=1e-6)


@pytest.mark.parametrize(
    ("times", "run_ms", "launch_us"),
    [
        (_profile(0.0, 1.0, 0.1), 5.0, 0.0),
        (_profile(1.0, 0.0, 0.1), 5.0, 0.0),
        (_profile(1.0, 1.0, 0.1), 0.01, 5.0),
        ([], 1.0, 0.0),
    ],
    ids=["no products", "nothing else", "launches alone take longer", "no profile"],
)
def test_a_profile_that_makes_no_sense_is_refused(times: list[NodeTime], run_ms: float, launch_us: float) -> None:
    with pytest.raises(MeasurementError) as caught:
        ceilings_from_profile(WORK, times, run_ms, launch_us, target="cpu", name="a test")
    assert caught.value.exit_code == 6


def test_cases_are_what_the_tests_say() -> None:
    assert sum(item.product_macs for item in NODES) == 7000
