"""Figures of a bundle by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comparison_cases import bench, output, parity, write_bundle

from edgeexport.bundle import open_bundle
from edgeexport.comparison.metrics import BundleFigures, bundle_figures, source_of
from edgeexport.errors import BundleError


def figures(path: Path) -> BundleFigures:
    return bundle_figures(open_bundle(path))


def values(found: BundleFigures) -> dict[str, float]:
    return {name: metric.value for name, metric in found.metrics.items()}


def test_every_file_has_its_names(tmp_path: Path) -> None:
    power = {
        "gross_mj": 120.0,
        "net_mj": 80.0,
        "load_w": 30.0,
        "idle_w": 10.0,
        "rails": {"VDD_GPU_SOC": {"load_w": 20.0}},
    }
    document = bench(10.0, power=power)
    document["rows"]["compute"]["p99.9"] = 13.0
    evaluation = {
        "provenance": "measured",
        "miou": 41.5,
        "per_class_iou": {"traffic light": 12.0, "sky": None},
        "x": [1, 2],
    }
    engine = {"build_seconds": 12.5, "options": {"dla_core": None, "plugins": True}}
    path = write_bundle(tmp_path / "b", bench=document, evaluation=evaluation, engine=engine, verify=parity())
    found = values(figures(path))
    expected = {
        "latency_p50_ms": 10.0,
        "latency_p99_9_ms": 13.0,
        "latency_cv": 0.02,
        "latency_n": 800,
        "end_to_end_p50_ms": 11.0,
        "energy_gross_mj": 120.0,
        "energy_net_mj": 80.0,
        "power_load_w": 30.0,
        "bench.power.rails.VDD_GPU_SOC.load_w": 20.0,
        "bench.predicted.latency_ms": 8.0,
        "parity.cosine": 0.99999,
        "parity.failed": 0,
        "parity.comparisons": 1,
        "parity.jaccard": 1.0,
        "verify.max_abs": 1e-6,
        "tokens.macs": 1000,
        "tokens.dense_over_reduced": 2.0,
        "tokens.mean": 90.0,
        "tokens.out": 60,
        "evaluation.miou": 41.5,
        "evaluation.per_class_iou.traffic_light": 12.0,
        "engine.build_seconds": 12.5,
        "files.model_onnx_bytes": 100,
    }
    assert {name: found.get(name) for name in expected} == expected
    absent = (
        "enqueue_p50_ms",
        "evaluation.per_class_iou.sky",
        "engine.options.plugins",
        "evaluation.x",
        "parity.agreement",
    )
    assert not [name for name in absent if name in found]


def test_sizes_add_up(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    (path / "plugins").mkdir()
    (path / "plugins" / "a.cu").write_bytes(b"x" * 30)
    (path / "plugins" / "b").mkdir()
    (path / "plugins" / "b" / "c.h").write_bytes(b"x" * 12)
    found = values(figures(path))
    assert found["files.plugins_bytes"] == 42
    assert found["files.total_bytes"] == sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_worst_of_all_comparisons_counts(tmp_path: Path) -> None:
    outputs = (output(cosine=0.9999, max_abs=1e-6), output("class_map", agreement=0.98, differing=7, unexplained=1))
    document = parity(*outputs, output("x", cosine=0.97, max_abs=1e-3, not_finite=0), status="failed")
    document["comparisons"][0]["decisions"] = [{"jaccard": 1.0}, {"jaccard": 0.8}]
    found = values(figures(write_bundle(tmp_path / "b", parity=document)))
    names = ("cosine", "max_abs", "agreement", "jaccard", "differing", "unexplained", "failed")
    assert [found[f"parity.{name}"] for name in names] == [0.97, 1e-3, 0.98, 0.8, 7, 1, 1]


@pytest.mark.parametrize("broken", [output("other_shape", passed=False), output(cosine=1.0, max_abs=0.0, not_finite=3)])
def test_what_was_compared_in_part_has_no_error_figures(tmp_path: Path, broken: dict) -> None:
    """A cosine over the outputs that are left would look perfect."""
    found = values(figures(write_bundle(tmp_path / "b", parity=parity(output(cosine=1.0, max_abs=0.0), broken))))
    assert "parity.cosine" not in found and "parity.max_abs" not in found
    assert found["parity.comparisons"] == 1


def test_figures_without_measurement(tmp_path: Path) -> None:
    found = figures(write_bundle(tmp_path / "b", bench=None))
    assert found.bench is None
    assert "latency_p50_ms" not in found.metrics and not found.has_source("latency_p50_ms")
    assert found.has_source("parity.cosine")


@pytest.mark.parametrize("content", ["{", "[]", "3", '{"comparisons": [1]}'])
def test_damaged_files_are_named(tmp_path: Path, content: str) -> None:
    path = write_bundle(tmp_path / "b")
    (path / "parity.json").write_text(content)
    with pytest.raises(BundleError, match=r"parity\.json"):
        figures(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"bench\.json \| cannot be read \(JSON is malformed"),
        (float("inf"), r"bench\.json \| cannot be read \(JSON is malformed"),
        (None, r"bench\.json: rows\.compute\.p50 \| is null, expected a number"),
        ("fast", r"bench\.json: rows\.compute\.p50 \| expected float.*got str"),
        (True, r"bench\.json: rows\.compute\.p50 \| expected float.*got bool"),
    ],
)
def test_what_is_no_number_is_no_figure(tmp_path: Path, value: object, message: str) -> None:
    document = bench()
    document["rows"]["compute"]["p50"] = value
    with pytest.raises(BundleError, match=message):
        figures(write_bundle(tmp_path / "b", bench=document))


def test_one_run_has_no_variation(tmp_path: Path) -> None:
    document = bench()
    document["rows"]["compute"]["cv"] = None
    found = figures(write_bundle(tmp_path / "b", bench=document)).metrics
    assert "latency_cv" not in found and "latency_p50_ms" in found


def test_sources_say_what_writes_them() -> None:
    assert source_of("latency_p50_ms") == ("bench.json", "edgeexport profile {bundle}")
    assert source_of("energy_net_mj")[1].endswith("--power")
    assert source_of("latency_p95_ms")[0] == "bench.json"
    assert source_of("nonsense") == ("", "")
    assert json.dumps(source_of("evaluation.miou")[0]) == '"evaluation.json"'
