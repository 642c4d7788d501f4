"""A decoder as a recipe describes it. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DecoderSpec", "TextSpec", "VisionSpec"]


@dataclass(frozen=True)
class TextSpec:
    """Pre-norm decoder with rotary positions, grouped queries and a gated MLP.

    ``qkv_bias`` and ``output_bias`` say which projections of attention have biases.
    ``sections`` are the frequencies of time, row and column of M-RoPE; None: one position per token.
    """

    layers: int
    width: int
    hidden: int
    query_heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    rope_theta: float
    norm_epsilon: float
    qkv_bias: bool
    output_bias: bool
    tied: bool
    sections: tuple[int, int, int] | None


@dataclass(frozen=True)
class VisionSpec:
    """Vision tower of Qwen2.5-VL: window attention but for the layers ``whole``, then ``merge`` x ``merge`` patches to a token.

    ``window`` is in pixels; ``frames`` patches of one image are stacked in time.
    """

    layers: int
    width: int
    hidden: int
    heads: int
    out_width: int
    channels: int
    patch: int
    frames: int
    merge: int
    window: int
    whole: tuple[int, ...]
    rope_theta: float


@dataclass(frozen=True)
class DecoderSpec:
    """A language model, its prompt and its cache.

    Attributes:
        type: Of the recipe's ``model``.
        architecture: Hugging Face's ``model_type``.
        text: The language model.
        vision: The tower; None: text only.
        image_token: Stands in the prompt for every visual token; None without a tower.
        prompt: L, places of a prompt, padded on the left.
        new_tokens: T, places for tokens that are decoded.
        grids: (rows, columns) of patches of every image of a prompt, multiples of ``vision.merge``.
        cache_update: 'operators', or 'tensor_scatter': opset 24.
    """

    type: str
    architecture: str
    text: TextSpec
    vision: VisionSpec | None
    image_token: int | None
    prompt: int
    new_tokens: int
    grids: tuple[tuple[int, int], ...]
    cache_update: str

    @property
    def visual_tokens(self) -> tuple[int, ...]:
        """Tokens of every image."""
        merge = 1 if self.vision is None else self.vision.merge
        return tuple(rows * columns // merge**2 for rows, columns in self.grids)

    @property
    def patches(self) -> int:
        """Patches of all images."""
        return sum(rows * columns for rows, columns in self.grids)

    @property
    def position_axes(self) -> int:
        """Numbers that a token's position has: 3 with M-RoPE, else 1."""
        return 1 if self.text.sections is None else 3
