"""What a language model's cache costs: bytes per token and budget, and the time of a decoded token by memory traffic.

Decoding one token reads every weight and the cache once, so its time is predicted from bytes alone, by the memory ceiling of
a target's fastest power mode. Runs without torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgeexport.cost.ceilings import ceilings_of, power_modes
from edgeexport.device.targets import TARGETS
from edgeexport.inputs.prompt_facts import PromptFacts

__all__ = ["CacheCost", "cache_bytes", "cache_costs", "decode_ms", "decode_table"]

_SHARES = (1.0, 0.5, 0.35, 0.2, 0.05)  # of the paper's table
_TABLE_SHARES = (1.0, 0.5, 0.2, 0.05)
_CONTEXTS = (4096, 16384, 38000)  # the last one is the published table's, by our fit


@dataclass(frozen=True)
class CacheCost:
    """A budget: share of the prompt, slots, bytes of the cache with all new tokens, predicted ms per token; None where nothing
    is known of the target's memory.
    """

    share: float
    slots: int
    cache_bytes: int
    predicted_ms: float | None


def cache_bytes(layers: int, kv_heads: int, head_size: int, tokens: int, value_bytes: int) -> int:
    """Keys and values of all layers: ``2 x layers x KV heads x head size x tokens x bytes`` (FlowMM, arXiv 2511.05534)."""
    return 2 * layers * kv_heads * head_size * tokens * value_bytes


def decode_ms(weight_bytes: int, cache: int, bytes_per_s: float) -> float:
    """Predicted: weights and cache read once."""
    return (weight_bytes + cache) / bytes_per_s * 1000


def cache_costs(facts: PromptFacts, weight_bytes: int, target: str, value_bytes: int = 4) -> tuple[CacheCost, ...]:
    """At 100, 50, 35, 20 and 5 % of the prompt, and at the bundle's own slots."""
    rate = _memory_rate(target)
    slots = {math.ceil(share * facts.length) for share in _SHARES} | {facts.slots}
    costs = []
    for kept in sorted(slots, reverse=True):
        held = cache_bytes(facts.layers, facts.kv_heads, facts.head_size, kept + facts.new_tokens, value_bytes)
        predicted = None if rate is None else decode_ms(weight_bytes, held, rate)
        costs.append(CacheCost(kept / facts.length, kept, held, predicted))
    return tuple(costs)


def decode_table(facts: PromptFacts, weight_bytes: int, value_bytes: int = 4) -> list[dict[str, Any]]:
    """Predicted milliseconds per decoded token on every target with known rates, by context and budget (JSON-ready).

    A row has ``context`` (tokens of the prompt), ``budget``, ``slots``, ``cache_bytes`` (with ``facts.new_tokens`` behind the
    prompt) and ``ms``: target -> milliseconds in its fastest power mode, weights and cache read once. The model is the
    bundle's; contexts beyond its own prompt are of the same model with a longer one.
    """
    rates = {name: rate for name in TARGETS if (rate := _memory_rate(name)) is not None}
    rows: list[dict[str, Any]] = []
    for context in sorted({facts.length, *(size for size in _CONTEXTS if size > facts.length)}):
        for share in _TABLE_SHARES:
            slots = math.ceil(share * context)
            tokens = slots + facts.new_tokens
            held = cache_bytes(facts.layers, facts.kv_heads, facts.head_size, tokens, value_bytes)
            ms = {name: decode_ms(weight_bytes, held, rate) for name, rate in rates.items()}
            rows.append({"context": context, "budget": share, "slots": slots, "cache_bytes": held, "ms": ms})
    return rows


def _memory_rate(target: str) -> float | None:
    return ceilings_of(target).gigabytes_per_s.value * 1e9 if power_modes(target) else None
