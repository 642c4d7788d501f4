"""What is told of a decoder: to methods that shrink its cache, and to whoever runs its graphs."""

from __future__ import annotations

from collections.abc import Sequence

from edgeexport.hosts.decoder.spec import DecoderSpec
from edgeexport.inputs.prompt_facts import PromptFacts
from edgeexport.tokens.cache import CacheFacts

__all__ = ["cache_facts", "prompt_facts"]


def cache_facts(spec: DecoderSpec) -> CacheFacts:
    """For a method."""
    text = spec.text
    visual = spec.vision is not None
    return CacheFacts(text.layers, text.query_heads, text.kv_heads, text.head_size, spec.prompt, visual)


def prompt_facts(
    spec: DecoderSpec, budget: int | None, end_tokens: Sequence[int] = (), flow: Sequence[bool] = ()
) -> PromptFacts:
    """For a bundle's manifest; ``budget`` None: the cache stays whole."""
    text, tower = spec.text, spec.vision
    return PromptFacts(
        architecture=spec.architecture,
        length=spec.prompt,
        new_tokens=spec.new_tokens,
        slots=spec.prompt if budget is None else budget,
        layers=text.layers,
        query_heads=text.query_heads,
        kv_heads=text.kv_heads,
        head_size=text.head_size,
        vocabulary=text.vocabulary,
        axes=spec.position_axes,
        image_token=spec.image_token,
        grids=spec.grids,
        patch=0 if tower is None else tower.patch,
        frames=0 if tower is None else tower.frames,
        merge=1 if tower is None else tower.merge,
        end_tokens=tuple(end_tokens),
        flow=tuple(flow),
        cache_update=spec.cache_update,
    )
