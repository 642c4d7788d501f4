from __future__ import annotations

from typing import Any

import pytest
from report_cases import latent_tokens, merge_tokens, tokens
from svg_reading import drawing

from edgeexport.report.token_chart import token_bars, token_chart
from edgeexport.report.work_chart import work_chart


def _counts(content: dict[str, Any]) -> list[tuple[str, int, int, int, int]]:
    return [(row.label, row.kept, row.shared, row.pruned, row.merged) for row in token_bars(content)]


def test_every_token_is_accounted_for_by_cause() -> None:
    assert _counts(tokens()) == [("1", 10, 6, 0, 0), ("2", 7, 6, 3, 0), ("head", 7, 6, 3, 0)]
    assert _counts(merge_tokens()) == [("1", 17, 0, 0, 0), ("2", 17, 0, 0, 0), ("3", 12, 0, 0, 5), ("head", 9, 0, 0, 8)]


def test_tokens_that_come_back_after_a_block_are_merged_inside_it() -> None:
    assert _counts(latent_tokens()) == [("1", 32, 0, 0, 32), ("output", 64, 0, 0, 0)]


def test_columns_of_all_causes_are_as_high_as_the_dense_model() -> None:
    chart = token_chart(tokens())
    found = drawing(chart.svg)
    kept, shared, (*_, pruned) = found.of("kept"), found.of("shared"), found.of("pruned")
    assert kept[1].height / kept[0].height == pytest.approx(0.7) and pruned.height / kept[0].height == pytest.approx(
        0.3
    )
    assert kept[1].height + shared[1].height + pruned.height == pytest.approx(200, abs=0.1)
    assert [entry.kind for entry in chart.legend] == ["kept", "shared", "pruned"]
    assert chart.table.headers == ("", "tokens", "shared", "pruned", "of dense")
    assert chart.table.rows[1] == ("block 2", "7", "6", "3", "43.8 %")
    assert chart.table.rows[0][0] == "block 1: shared 2 windows; pruned 3 after block 1"
    assert "16 tokens everywhere, this one on 10 in block 1 and 7 at the fewest" in found.description
    assert "16 patches" in chart.note and "17 tokens" not in chart.note


def test_counts_are_written_where_they_change() -> None:
    assert drawing(token_chart(tokens()).svg).captions == ("10", "7")
    assert "16 patches and class token" in token_chart(merge_tokens()).note


def test_work_stands_before_the_dense_model() -> None:
    chart = work_chart(tokens())
    found = drawing(chart.svg)
    assert [text for text in found.texts if text[0].islower()] == ["policy", "embedding", "head", "norm, tail"]
    (first, second), (policy,) = found.of("attention"), found.of("reduction")
    assert first.height / second.height == pytest.approx(10 / 7, rel=1e-3)
    assert policy.height / first.height == pytest.approx(1.971, rel=1e-3)
    auxiliary, final = found.of("heads")
    assert auxiliary.x < second.x < final.x  # the auxiliary head stands on its block
    dense = [frame.height for frame in found.of("frame")]
    assert dense[2] == dense[3] == pytest.approx(4.8 * first.height, rel=1e-3)
    assert {entry.kind for entry in chart.legend} == {"attention", "mlp", "heads", "reduction", "other", "frame"}
    assert [chart.table.rows[index][0] for index in chart.table.sums] == [
        "sum without policy network",
        "sum with policy network",
    ]


def test_work_of_the_graph_itself_is_told_where_it_was_counted() -> None:
    graph = {"provenance": "counted in the exported graph", "product_macs": 5_250_000_000}
    note = work_chart({**tokens(), "graph": graph}).note
    assert note == "Products in the exported graph: 5.250 GMAC, counted in the exported graph."
    assert work_chart({**tokens(), "graph": None}).note == ""


def test_matching_is_drawn_where_there_is_any() -> None:
    chart = work_chart(merge_tokens())
    assert len(drawing(chart.svg).of("matching")) == 2 and "matching" in chart.table.headers
    assert "matching" not in work_chart(tokens()).table.headers


def _shipped() -> list[str]:
    from edgeexport.recipe import shipped_recipes

    return [
        name for name, _ in shipped_recipes() if not name.startswith("flowmm")
    ]  # several graphs: no blocks of tokens


@pytest.mark.parametrize("name", _shipped())
def test_shipped_recipes_can_be_drawn(name: str) -> None:
    """Classifiers, segmenters, audio, video, diffusion; shared, pruned, merged."""
    from edgeexport.fixed.tokens import tokens_json
    from edgeexport.recipe import load_recipe

    content: Any = tokens_json(load_recipe(name))
    full = content["patches"] + content.get("num_prefix", 0)
    for row in token_bars(content):
        assert row.kept + row.shared + row.pruned + row.merged == full and row.kept > 0, row
        assert min(row.shared, row.pruned, row.merged) >= 0, row
    blocks = len(content["blocks"])
    assert len(drawing(token_chart(content).svg).of("kept")) == blocks + 1
    drawn = drawing(work_chart(content).svg)
    assert len(drawn.of("attention")) == blocks
    if name == "tome_sd_block":
        assert blocks == 1 and content["patches"] == 4096
