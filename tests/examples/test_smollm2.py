"""The GGUF reading of the language model's example: channels of heads go back to halves, digits are tokens of their own."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import pre_tokenizers

from benchmarks.language_model_page import language_model_page, ratio_interval
from examples.smollm2.wheel import halves_from_pairs, key_of, tokenizer_of


def test_pairs_that_are_neighbours_become_halves_head_by_head() -> None:
    weight = np.arange(12)[:, None] * np.ones((1, 2))
    told = halves_from_pairs(weight, 2)[:, 0]
    assert told.tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_a_turn_of_neighbours_is_a_turn_of_halves() -> None:
    """Logits of queries with keys turned by an angle are the same in either order of channels."""
    rng = np.random.default_rng(0)
    query, key, angle = rng.standard_normal((1, 8, 1)), rng.standard_normal((1, 8, 1)), rng.standard_normal(4)
    cosine, sine = np.cos(angle), np.sin(angle)
    even, odd = query[0, 0::2, 0], query[0, 1::2, 0]
    neighbours = np.stack([even * cosine - odd * sine, even * sine + odd * cosine], 1).reshape(-1) @ key[0, :, 0]
    q, k = (halves_from_pairs(part[0], 1)[:, 0] for part in (query, key))
    turned = np.concatenate([q[:4] * cosine - q[4:] * sine, q[4:] * cosine + q[:4] * sine])
    assert turned @ k == pytest.approx(neighbours)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"),
        ("blk.29.attn_norm.weight", "model.layers.29.input_layernorm.weight"),
    ],
)
def test_keys_are_those_of_transformers(name: str, key: str) -> None:
    assert key_of(name) == key


def test_digits_stand_alone_and_special_tokens_stay_whole() -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizer_of(["<|end|>", *letters, "ab", "12"], ["a b", "1 2"], [3, *[1] * (len(letters) + 2)])
    assert tokenizer.encode("ab<|end|>12").tokens == ["ab", "<|end|>", "1", "2"]
    assert tokenizer.decode(tokenizer.encode("a b 12").ids) == "a b 12"


def test_an_interval_of_ratios_holds_what_was_drawn() -> None:
    mean, low, high = ratio_interval([1.0, 2.0, 3.0], [0.9, 1.8, 2.9])
    assert low <= mean <= high and mean == pytest.approx(np.exp(0.4 / 3))


def test_the_page_tells_intervals_and_what_differs() -> None:
    from benchmarks.language_model import BUDGETS, METHODS

    loss = {"flowmm": 0.1, "values": 0.3, "unprotected": 0.5, "evict": 0.2, "recent": 0.4, "random": 1.0}
    rows = [{"method": "whole", "budget": 1.0, "slots": 9, "texts": [2.0, 2.5, 2.2], "needles": [1.0, 1.0, 0.0, 1.0]}]
    rows += [
        {"method": name, "budget": budget, "texts": [2.0 + more, 2.5 + more, 2.2 + more], "needles": [0.0, 1.0, 0.0, 1.0]}
        for name, more in loss.items()
        for budget in BUDGETS
    ]  # fmt: skip
    found = {"machine": "m", "load": 3.0, "answers": {"length": 9, "following": 5, "rows": rows}}
    page = language_model_page(found, "make it so", "e.json")
    assert "    make it so" in page and "not measured in this run" not in page
    assert all(method.title in page for method in METHODS.values())
    assert "| eviction | " + " | ".join(["1.22 (1.22 to 1.22)"] * 5) in page
    assert "merging (half protected) beside eviction: 60%: better (0.90)" in page
    assert "merging of values alone beside eviction: 60%: worse (1.11)" in page
    assert "50% (15% to 85%)" in page and "With the whole cache 75% (30% to 95%)" in " ".join(page.split())
