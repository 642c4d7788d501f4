from __future__ import annotations

import pytest
from measured_cases import bench, orin_bench, work
from report_cases import manifest
from svg_reading import drawing

from edgeexport.cost.ceilings import power_modes
from edgeexport.report.prediction_view import prediction_view, predictions_of_bundle


def test_every_power_mode_has_a_bar_and_a_line() -> None:
    predicted, why_none = predictions_of_bundle(manifest(), work())
    assert why_none == ""
    view = prediction_view(predicted, bench())
    modes = power_modes("orin")
    assert [row[0] for row in view.modes.table.rows] == list(modes) and view.mode == modes[0]
    totals = [float(item["total_ms"]) for item in predicted]
    bars = drawing(view.modes.svg).of("model predicted")
    assert [bar.width / bars[-1].width for bar in bars] == pytest.approx([ms / totals[-1] for ms in totals], rel=1e-3)
    assert view.headline == f"{totals[0]:.2f} ms" and view.target == "Jetson AGX Orin 64GB"
    assert "measured" not in " ".join([*view.modes.table.headers, *drawing(view.modes.svg).texts])
    assert "roofline" in view.model


def test_ceilings_carry_their_source() -> None:
    view = prediction_view(predictions_of_bundle(manifest(), work())[0], None)
    rows = {row[0]: row[1:] for row in view.ceilings.rows}
    assert rows["memory, GB/s"][1] == "published" and "152.8 GB/s read" in rows["memory, GB/s"][2]
    assert rows["kernel launch, µs"][1] == "assumed" and rows["float32 products, 10⁹ MAC/s"][1] == "published"


@pytest.mark.parametrize("measured_ms", [12.0, 60.0])
def test_a_measurement_stands_beside_its_own_mode_alone(measured_ms: float) -> None:
    document = orin_bench("MODE_30W")
    document["rows"]["compute"]["p50"] = measured_ms
    predicted = document["predicted"]["total_ms"]
    view = prediction_view(predictions_of_bundle(manifest(), work())[0], document)
    rows = {row[0]: row for row in view.modes.table.rows}
    difference = f"{100 * (measured_ms / predicted - 1):+.0f} %"
    assert rows["30W"][-2:] == (f"{measured_ms:.3f}", difference)
    assert all(rows[mode][-2:] == ("", "") for mode in ("MAXN", "50W", "15W"))
    found = drawing(view.modes.svg)
    (bar,), own = found.of("measured"), found.of("model predicted")[2]
    assert bar.width / own.width == pytest.approx(measured_ms / predicted, rel=1e-3) and bar.y > own.y
    assert f"{measured_ms:.2f} ms ({difference})" in found.texts
    assert view.mode == "30W" and view.by_part is document["predicted"]


def test_a_measurement_elsewhere_stands_beside_nothing() -> None:
    predicted, _ = predictions_of_bundle(manifest(), work())
    other = orin_bench(predicted={**orin_bench()["predicted"], "target": "orin-nx"})
    for document in (bench(), bench(predicted={"latency_ms": 8.0}), other):
        assert "measured ms" not in prediction_view(predicted, document).modes.table.headers


@pytest.mark.parametrize(
    ("target", "has_work", "expected"),
    [
        ("cpu", True, "nothing is published about the limits of the target cpu"),
        ("orin", False, "the bundle has no work.json"),
        ("thor", True, "no rate of int4 products is known"),
    ],
)
def test_why_there_is_no_prediction(target: str, has_work: bool, expected: str) -> None:
    content = work()
    if target == "thor":
        node = content.nodes[0].__class__(**{**content.nodes[0].__dict__, "dtype": "int4"})
        content = content.__class__((node,))
    found, why_none = predictions_of_bundle(manifest(target=target), content if has_work else None)
    assert found == [] and expected in why_none


def test_values_bound_by_nothing_have_no_column() -> None:
    predicted, _ = predictions_of_bundle(manifest(), work())
    headers = prediction_view(predicted, None).modes.table.headers
    assert "bound by products" in headers and "bound by launches" not in headers
