"""The contract of a method that acts once, between the two walks of a decoder: on the cache that a prompt leaves.

Such a method takes a layer's keys and values and gives fewer (`Cut.CACHE`). It is found by the literal dict `CACHE_REDUCTIONS`
in `edgeexport.reductions`, and knows its decoder by `CacheFacts` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from edgeexport.config.place import Place
from edgeexport.tokens.cache import CacheFacts, PromptLayer

__all__ = ["CacheReduction"]


class CacheReduction(ABC):
    """A method: the same questions for all. ``spec`` is always what `spec_from_config` returned.

    Attributes:
        key: In a recipe's ``reduction``.
        title: For people.
    """

    key: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def spec_from_config(self, value: object, place: Place, facts: CacheFacts) -> Any:
        """Validates the method's entry. Raises: RecipeError."""

    @abstractmethod
    def resolved(self, spec: Any) -> dict[str, object]:
        """The entry with defaults filled in, JSON-ready, which reads as the same spec."""

    @abstractmethod
    def slots(self, spec: Any) -> int:
        """Slots that are left per layer and KV head."""

    @abstractmethod
    def flow(self, spec: Any) -> tuple[bool, ...]:
        """Per layer, whether slots take tokens of another modality; empty where nothing merges."""

    @abstractmethod
    def why_not_fixed(self, spec: Any) -> str:
        """What constants a graph lacks; empty where it has all of them."""

    @abstractmethod
    def step(self, spec: Any, facts: CacheFacts, layer: int) -> nn.Module:
        """The module, without weights, that shrinks the cache of ``layer`` (from 0) by constants.

        It is called with `PromptLayer` and gives `KeptCache`; its attribute ``proxies`` is how many of the last places'
        queries it reads.
        """

    @abstractmethod
    def published(self, spec: Any, layer: PromptLayer, number: int, attention: Tensor | None = None) -> Any:
        """The same as published, in loops: something with ``kept``, ``importance`` and ``lead`` (see `PublishedCache`).

        ``attention`` (B, Hkv, G, n, L) is another execution's, in place of the layer's own.
        """

    @abstractmethod
    def macs(self, spec: Any, facts: CacheFacts) -> int:
        """Multiply-accumulates of a layer: the proxies' attention, cosines, the merge."""
