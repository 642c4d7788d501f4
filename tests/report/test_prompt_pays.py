"""Whether a smaller cache pays: each answer where the figures turn."""

from __future__ import annotations

import pytest

from edgeexport.report.graph_list_page import prompt_pays


def cost(slots: int, ms: float | None) -> dict[str, object]:
    """An entry of the manifest's ``cache_costs``: 1 kB a slot."""
    return {"share": slots / 40, "slots": slots, "cache_bytes": 1000 * slots, "predicted_ms": ms}


@pytest.mark.parametrize(
    ("costs", "word", "says"),
    [
        ([cost(40, 3.0), cost(10, 2.0)], "yes", "2.0000 ms beside 3.0000 ms with the whole cache, 1.50 times as fast"),
        ([cost(40, 2.005), cost(10, 2.0)], "no difference", "within 0.5%"),
        ([cost(40, None), cost(10, None)], "not known", "0.010 of 0.040 MB of cache"),
        ([cost(10, 2.0)], "whole cache", "Every place of the prompt is kept"),
        ([cost(40, 3.0)], "not known", "says nothing"),
    ],
)
def test_prompt_pays(costs: list[dict[str, object]], word: str, says: str) -> None:
    answer = prompt_pays({"cache_costs": costs}, 10)
    assert answer.word == word and says in answer.text
