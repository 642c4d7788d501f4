from __future__ import annotations

import pytest
from measured_cases import bench, orin_bench

from edgeexport.report.bench_text import conditions_text, device_text, mode_text
from edgeexport.report.bench_view import bench_view


def test_measurement_on_a_processor() -> None:
    view = bench_view(bench())
    assert (view.headline, view.circumstances) == ("9.50 ms", "Some CPU, onnxruntime 1.31.1")
    assert view.rows.headers == ("milliseconds", "p50", "p90", "p99", "mean", "min", "max", "cv", "runs")
    assert [row[0] for row in view.rows.rows] == ["compute", "end to end"]
    assert view.rows.rows[0] == ("compute", "9.500", "10.450", "11.400", "9.500", "9.500", "19.000", "2.0 %", "300")
    facts = dict(view.facts)
    assert facts["Device"] == "Some CPU (x86_64)" and facts["Conditions before"] == "this machine tells none"
    assert facts["Runs"] == "model.onnx, onnxruntime 1.31.1" and "Engine options" not in facts
    assert facts["Protocol"] == (
        "300 runs in 3.0 s after 5 runs of warm-up, no sample left out; no CUDA graph on a CPU; no copies to a device"
    )
    assert facts["Versions"] == "edgeexport 0.1.0, numpy 2.4.6, python 3.11.7"
    assert (view.speedup, view.energy, view.baseline_rows, view.rails, view.warnings) == ("", "", None, None, ())


def test_measurement_on_a_jetson_names_device_and_mode() -> None:
    view = bench_view(orin_bench())
    assert view.circumstances == "TEST DATA Jetson AGX Orin, power mode MODE_30W, tensorrt 10.3.0"
    facts = dict(view.facts)
    assert facts["Device"] == "TEST DATA Orin (aarch64); TEST DATA Jetson AGX Orin, L4T 36.4.0, JetPack 6.1"
    assert facts["Conditions after"] == "power mode MODE_30W; gpu 612 MHz; gpu-thermal 48.5 °C"
    assert facts["Engine options"] == "cuda_graph = True, workspace_mib = 2048"
    assert "CUDA graph on; copies between host and device timed apart" in facts["Protocol"]
    assert [row[0] for row in view.rows.rows] == ["compute", "enqueue", "transfers", "end to end"]


def test_speed_up_has_its_interval_and_energy_its_two_figures() -> None:
    view = bench_view(orin_bench())
    assert (view.speedup, view.speedup_words) == ("1.50 times", "as fast as tiny_dense")
    assert dict(view.speedup_facts)["Speed-up"] == "1.500, 99 % interval 1.450 to 1.550: faster"
    assert view.baseline_rows is not None
    assert [row[0] for row in view.baseline_rows.rows] == [
        "baseline compute",
        "baseline end to end",
        "candidate compute",
        "candidate end to end",
    ]
    assert view.energy == "240.0 mJ"
    assert dict(view.energy_facts)["For one inference"] == "240.00 mJ in all, 96.00 mJ above rest"
    assert "sensors that average over 100 ms" in dict(view.energy_facts)["Found by"]
    assert view.rails is not None and view.rails.rows[-1] == ("VDD_GPU_SOC + VIN_SYS_5V0", "20.00", "12.00")
    assert view.rails.sums == (2,)


def test_an_interval_that_holds_1_is_no_speed_up() -> None:
    baseline = orin_bench()["baseline"]
    baseline["speedup"].update(low=0.9, verdict="no difference shown")
    view = bench_view(orin_bench(baseline=baseline))
    assert (view.speedup, view.speedup_words) == ("no difference", "of speed shown to tiny_dense")
    assert "0.900 to 1.550: no difference shown" in dict(view.speedup_facts)["Speed-up"]


def test_further_percentiles_have_columns() -> None:
    rows = bench()["rows"]
    for row in rows.values():
        if row:
            row.update({"p99.9": 30.0, "p5": 9.0})
    view = bench_view(bench(rows=rows))
    assert view.rows.headers[1:6] == ("p5", "p50", "p90", "p99", "p99.9")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"stable": False, "instabilities": ["power mode changed", "hot"]},
            ["unstable: power mode changed", "unstable: hot"],
        ),
        ({"stable": False}, ["unstable: the device changed during the measurement"]),
        (
            {"bundle": {"name": "x", "manifest_sha256": "cd" * 32, "batch": 1}},
            ["measured figures are of another build of this bundle (manifest cdcd"],
        ),
        ({"bundle": {"name": "x", "manifest_sha256": "ab" * 32, "batch": 1}}, []),
    ],
)
def test_what_weakens_the_figures_is_a_warning(changes: dict[str, object], expected: list[str]) -> None:
    found = bench_view(bench(**changes), "ab" * 32).warnings
    assert len(found) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True))


def test_figures_of_an_earlier_engine_say_so_beside_the_figure() -> None:
    measured = orin_bench(engine_sha256="34" * 32)
    assert bench_view(measured, "", {"engine.plan": "34" * 32}).warnings == ()
    view = bench_view(measured, "", {"engine.plan": "56" * 32})
    earlier = "of an earlier engine (engine.plan 343434343434..., now 565656565656...)"
    assert view.circumstances == f"TEST DATA Jetson AGX Orin, power mode MODE_30W, tensorrt 10.3.0; {earlier}"
    assert (view.headline, view.energy) == ("12.00 ms (of an earlier engine)", "240.0 mJ (of an earlier engine)")
    assert view.speedup_words == "as fast as tiny_dense (of an earlier engine)"
    assert view.warnings == (f"measured figures are {earlier}: profile it again",)
    (warning,) = bench_view(bench(), "", {"engine.plan": "34" * 32}).warnings
    assert warning == "measured figures are of model.onnx in ONNX Runtime, not of engine.plan"


def test_a_speed_up_that_is_not_the_models_alone() -> None:
    baseline = orin_bench()["baseline"]
    baseline["differences"] = [
        {"what": "precision", "baseline": "fp32", "candidate": "fp16"},
        {"what": "CUDA graph", "baseline": "off", "candidate": "on"},
    ]
    name, text = bench_view(orin_bench(baseline=baseline)).speedup_facts[1]  # which the summary shows, too
    assert name == "Speed-up" and text.endswith(
        ": faster. Not of the models alone: precision: baseline fp32, here fp16; CUDA graph: baseline off, here on"
    )


def test_what_a_machine_does_not_tell_is_left_out() -> None:
    assert (
        mode_text({"power_mode": None}) == "" and mode_text({"power_mode": {"id": 7, "name": None}}) == "power mode 7"
    )
    assert conditions_text(bench()["conditions"]["before"]) == ""
    jetson = {"model": "Orin", "l4t": None, "jetpack": None}
    assert device_text({"name": "a", "machine": "b", "jetson": jetson}) == "a (b); Orin"
