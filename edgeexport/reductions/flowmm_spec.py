"""FlowMM as a recipe asks for it. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FlowMMSpec"]


@dataclass(frozen=True)
class FlowMMSpec:
    """Merging of a prompt's cache.

    Attributes:
        budget: Slots per layer and KV head.
        theta: Flow ratio above which tokens may merge across modalities; None where ``flow`` says it per layer.
        flow: Per layer, whether they may; None in the adaptive form.
        tau: Importance above which a pivot absorbs nothing; None where ``protect`` counts.
        protect: Per layer and KV head, how many pivots absorb nothing, the most important first; None with ``tau``.
        proxies: Last valid prompt tokens whose attention says how important a token is.
        keep_recent: So many of the last valid tokens always have a slot.
        merge: 'kv', keys and values are averaged; 'v', values alone; 'evict', what has no slot is dropped.
    """

    budget: int
    theta: float | None
    flow: tuple[bool, ...] | None
    tau: float | None
    protect: tuple[tuple[int, ...], ...] | None
    proxies: int
    keep_recent: int
    merge: str

    @property
    def fixed(self) -> bool:
        """Whether constants decide, so that no attention but the proxies' is needed."""
        return self.merge == "evict" or (self.flow is not None and self.protect is not None)
