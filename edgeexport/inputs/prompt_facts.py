"""What a bundle of a language model says of its prompt and its cache. Runs without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["PromptFacts"]


@dataclass(frozen=True)
class PromptFacts:
    """The ``prompt`` entry of a manifest.

    Attributes:
        architecture: Hugging Face's ``model_type``.
        length: L, places of a prompt.
        new_tokens: T, tokens that may follow.
        slots: Kept of the prompt per layer and KV head; L where the cache stays whole.
        layers, query_heads, kv_heads, head_size: Of the decoder.
        vocabulary: Tokens that logits are given for.
        axes: Numbers of a position, 1 or 3.
        image_token: None for text alone.
        grids: (rows, columns) of patches of each image.
        patch, frames, merge: Of the vision tower; 0 for text alone.
        end_tokens: Ids that end an answer.
        flow: Per layer, whether slots absorb across modalities; empty where nothing merges.
        cache_update: See `edgeexport.ops.cache_update.FORMS`.
    """

    architecture: str
    length: int
    new_tokens: int
    slots: int
    layers: int
    query_heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    axes: int
    image_token: int | None
    grids: tuple[tuple[int, int], ...]
    patch: int
    frames: int
    merge: int
    end_tokens: tuple[int, ...]
    flow: tuple[bool, ...]
    cache_update: str

    @property
    def capacity(self) -> int:
        """S, slots of the cache in the graphs."""
        return self.slots + self.new_tokens

    @property
    def cache_bytes_per_token(self) -> int:
        """Of float32 keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head_size * 4

    @property
    def visual_tokens(self) -> tuple[int, ...]:
        """Tokens of each image."""
        return tuple(rows * columns // self.merge**2 for rows, columns in self.grids)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        told = asdict(self)
        lists = {"grids": [list(grid) for grid in self.grids]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in {**told, **lists}.items()}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> PromptFacts:
        """Of a manifest's entry, which has been validated."""
        lists = {key: tuple(told[key]) for key in ("end_tokens", "flow")}
        grids = tuple((int(rows), int(columns)) for rows, columns in told["grids"])
        return cls(**{**{key: told[key] for key in cls.__dataclass_fields__}, **lists, "grids": grids})
