"""What a language model's cache costs: bytes per token and budget, and the time of a decoded token by memory traffic.

Decoding one token reads every weight and the cache once, so its time is predicted from bytes alone, by the memory ceiling of
a target's fastest power mode. Runs without torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeexport.cost.ceilings import ceilings_of, power_modes
from edgeexport.inputs.prompt_facts import PromptFacts

__all__ = ["CacheCost", "cache_bytes", "cache_costs", "decode_ms"]

_SHARES = (1.0, 0.5, 0.35, 0.2, 0.05)  # of the paper's table


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


def _memory_rate(target: str) -> float | None:
    return ceilings_of(target).gigabytes_per_s.value * 1e9 if power_modes(target) else None
