from __future__ import annotations

import pytest
from measured_cases import layers, orin_bench
from svg_reading import drawing

from edgeexport.report.layer_chart import layer_chart, layers_tag


def test_steps_of_a_block_stand_on_it() -> None:
    found = drawing(layer_chart("l", "Times", layers(), None).svg)
    block, reduction, head = found.of("model")[0], found.of("reduction")[1], found.of("heads")[0]
    assert block.x == reduction.x == head.x and head.y < block.y
    assert block.height / reduction.height == pytest.approx(10, rel=1e-2)
    assert [text for text in found.texts if text[0].islower()] == ["ms", "policy", "embedding", "head", "other"]
    assert (
        found.of("reduction")[0].x < found.of("other")[0].x < block.x < found.of("heads")[1].x < found.of("other")[1].x
    )
    assert found.description == "One column for each part, in all measured, with the profiler on, 10.000 ms."


def test_measured_stands_beside_predicted() -> None:
    predicted = orin_bench()["predicted"]
    chart = layer_chart("l", "Times", layers(), predicted)
    found = drawing(chart.svg)
    measured, beside = found.of("model"), found.of("model predicted")
    assert len(measured) == len(beside) == 2 and all(one.x < two.x for one, two in zip(measured, beside, strict=True))
    ms = {part["part"]: part["ms"] for part in predicted["parts"]}
    assert measured[0].height / beside[0].height == pytest.approx(2.5 / ms["block_1"], rel=1e-2)
    rows = {row[0]: row[1:] for row in chart.table.rows}
    assert chart.table.headers[1:5] == ("measured ms", "share", "predicted ms", "bound by")
    assert rows["block 1"][:2] == ("2.500", "25.0 %") and rows["block 1"][2] == f"{ms['block_1']:.3f}"
    assert rows["other"][2:4] == ("", "")
    assert "predicted" in chart.legend[-1].text and "measured" in found.of("model")[0].tip


def test_prediction_alone_is_marked_as_one_everywhere() -> None:
    chart = layer_chart("l", "Times", None, orin_bench()["predicted"])
    found = drawing(chart.svg)
    assert found.rectangles and all("predicted" in rectangle.kind for rectangle in found.rectangles)
    assert all("predicted" in rectangle.tip for rectangle in found.rectangles)
    assert all("predicted" in entry.kind for entry in chart.legend)
    assert "predicted" in found.description and "measured" not in found.description


def test_times_divided_by_estimate_are_called_so_everywhere() -> None:
    estimate = {**layers(), "provenance": "estimate"}
    assert (layers_tag(layers()), layers_tag(estimate)) == ("measured", "estimate")
    chart = layer_chart("l", "Times", estimate, orin_bench()["predicted"])
    found = drawing(chart.svg)
    assert chart.table.headers[1:4] == ("estimate ms", "share", "predicted ms")
    tips = [rectangle.tip for rectangle in found.rectangles]
    assert any(tip.endswith("ms estimate") for tip in tips) and not any("measured" in tip for tip in tips)
    assert "in all measured and divided between the parts by estimate, with the profiler on, 10.000 ms" in (
        found.description
    )
