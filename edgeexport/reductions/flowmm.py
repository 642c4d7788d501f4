"""FlowMM: the cache of a prompt shrunk to a budget, merging within or across modalities, layer by layer.

Source: FlowMM (arXiv 2511.05534), section 3. A layer whose attention flows between modalities may merge across them; the
most important tokens keep their slot, and the very most important absorb nothing. What the paper leaves open and is fixed
here stands in `edgeexport.reductions.flowmm_published`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from edgeexport.config.place import Place
from edgeexport.ops.cache_match import cache_match
from edgeexport.ops.cache_merge import cache_merge
from edgeexport.reductions.cache_reduction import CacheReduction
from edgeexport.reductions.flowmm_config import flowmm_from_config, resolved_flowmm
from edgeexport.reductions.flowmm_published import PublishedCache, cache_by_attention, published_cache
from edgeexport.reductions.flowmm_spec import FlowMMSpec
from edgeexport.tokens.cache import CacheFacts, KeptCache, PromptLayer, proxy_importance

__all__ = ["FlowMM"]


class _Step(nn.Module):
    """One layer by constants: importance from the proxies' attention, then the two ops."""

    def __init__(self, spec: FlowMMSpec, facts: CacheFacts, layer: int) -> None:
        super().__init__()
        self.proxies = spec.proxies
        self._average_keys = spec.merge == "kv"
        self._match: dict[str, Any] = {
            "budget": spec.budget,
            "cross": bool(spec.flow[layer]) if spec.flow is not None else False,
            "protect": spec.protect[layer] if spec.protect is not None else (0,) * facts.kv_heads,
            "keep_recent": spec.keep_recent,
            "absorb": spec.merge != "evict",
        }

    def forward(self, layer: PromptLayer) -> KeptCache:
        importance = proxy_importance(layer.query[:, :, -self.proxies :], layer.key, layer.valid)
        pivot, target = cache_match(layer.key, importance, layer.modality, layer.valid, **self._match)
        key, value, count = cache_merge(layer.key, layer.value, pivot, target, average_keys=self._average_keys)
        return KeptCache(key, value, pivot, target, count)


class FlowMM(CacheReduction):
    """See `CacheReduction`."""

    key: ClassVar[str] = "flowmm"
    title: ClassVar[str] = "FlowMM"

    def spec_from_config(self, value: object, place: Place, facts: CacheFacts) -> FlowMMSpec:
        """See `flowmm_from_config`."""
        return flowmm_from_config(value, place, facts)

    def resolved(self, spec: FlowMMSpec) -> dict[str, object]:
        """See `resolved_flowmm`."""
        return resolved_flowmm(spec)

    def slots(self, spec: FlowMMSpec) -> int:
        """The budget."""
        return spec.budget

    def flow(self, spec: FlowMMSpec) -> tuple[bool, ...]:
        """As fixed; nothing for eviction."""
        return () if spec.merge == "evict" or spec.flow is None else spec.flow

    def why_not_fixed(self, spec: FlowMMSpec) -> str:
        """The adaptive form needs all attention, and its decisions change with the prompt."""
        if spec.fixed:
            return ""
        lacks = [name for name, value in (("flow", spec.flow), ("protect", spec.protect)) if value is None]
        return (
            f"the graph has constants for what theta and tau decide per prompt, and {' and '.join(lacks)} is not given"
        )

    def step(self, spec: FlowMMSpec, facts: CacheFacts, layer: int) -> nn.Module:
        """See `CacheReduction.step`."""
        return _Step(spec, facts, layer)

    def published(
        self, spec: FlowMMSpec, layer: PromptLayer, number: int, attention: Tensor | None = None
    ) -> PublishedCache:
        """See `published_cache` and `cache_by_attention`; where constants decide, the proxies' attention alone is formed."""
        if attention is not None:
            return cache_by_attention(
                attention[..., -spec.proxies :, :] if spec.fixed else attention, layer, spec, number
            )
        if spec.fixed:
            layer = replace(layer, query=layer.query[:, :, -spec.proxies :])
        return published_cache(layer, spec, number)

    def macs(self, spec: FlowMMSpec, facts: CacheFacts) -> int:
        """Proxies' attention logits, cosines of all tokens with all pivots, and the one-hot product of each merged tensor."""
        length, size, merged = facts.prompt, facts.head_size, {"kv": 2, "v": 1, "evict": 1}[spec.merge]
        attention = facts.query_heads * spec.proxies * length * size
        return attention + facts.kv_heads * length * spec.budget * size * (1 + merged)
