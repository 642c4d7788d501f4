"""The cache's bytes against the published table, and what the accounting says of a bundle."""

from __future__ import annotations

import dataclasses

import pytest

from edgeexport.cost.cache import cache_bytes, cache_costs, decode_ms, decode_table
from edgeexport.inputs.prompt_facts import PromptFacts

PUBLISHED_GIB = {1.0: 2.06, 0.5: 1.05, 0.35: 0.74, 0.2: 0.44, 0.05: 0.13}
PROMPT, UNMERGED = 38_000, 600  # our fit; the paper does not state them


def test_flowmm_published_cache_of_qwen2_5_vl_7b() -> None:
    """28 layers, 4 KV heads of 128 channels, float16: 57,344 bytes per token; the prompt is merged, 600 tokens are not."""
    assert cache_bytes(28, 4, 128, 1, 2) == 57_344
    for share, published in PUBLISHED_GIB.items():
        tokens = round(share * PROMPT) + UNMERGED
        assert round(cache_bytes(28, 4, 128, tokens, 2) / 2**30, 2) == published


def test_memory_that_is_merely_proportional_does_not_give_the_published_table() -> None:
    whole = PUBLISHED_GIB[1.0]
    assert [round(share * whole, 2) for share in (0.5, 0.35, 0.2, 0.05)] == [1.03, 0.72, 0.41, 0.1]


FACTS = PromptFacts(
    "qwen2", 100, 10, 20, 2, 4, 2, 8, 300, 1, None, (), 0, 0, 1, (), (), "operators"
)  # fmt: skip


def test_costs_fall_with_the_budget_and_name_the_bundles_own() -> None:
    costs = cache_costs(FACTS, 1_000_000, "orin")
    assert [cost.slots for cost in costs] == [100, 50, 35, 20, 5]
    assert [cost.cache_bytes for cost in costs] == [256 * (slots + 10) for slots in (100, 50, 35, 20, 5)]
    times = [cost.predicted_ms for cost in costs]
    assert times == sorted(times, reverse=True)
    assert cache_costs(dataclasses.replace(FACTS, slots=7), 1, "cpu")[-2].slots == 7


def test_decoding_by_context_and_budget_grows_with_both_and_is_known_for_every_jetson() -> None:
    rows = decode_table(FACTS, 1_000_000)
    assert {row["context"] for row in rows} == {100, 4096, 16384, 38000}
    for context in (100, 38000):
        own = [row for row in rows if row["context"] == context]
        assert [row["budget"] for row in own] == [1.0, 0.5, 0.2, 0.05]
        assert [row["cache_bytes"] for row in own] == [256 * (row["slots"] + 10) for row in own]
        times = [row["ms"]["orin"] for row in own]
        assert times == sorted(times, reverse=True) and times[0] > times[-1]
    assert all(row["ms"].keys() == {"orin", "orin-32gb", "orin-nx", "orin-nano", "thor"} for row in rows)


def test_predicted_time_is_bytes_by_memory_rate_and_unknown_without_one() -> None:
    assert decode_ms(3_000_000, 1_000_000, 1e9) == pytest.approx(4.0)
    assert all(cost.predicted_ms is None for cost in cache_costs(FACTS, 1, "cpu"))
