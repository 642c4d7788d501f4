"""The language model's modules under the key names of the published checkpoints, and its two ways through a layer.

Sources: Llama 2 (arXiv 2307.09288), section 2.2, Qwen2 (arXiv 2407.10671), section 2.2.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.decoder.rotary import turned
from edgeexport.hosts.decoder.spec import TextSpec
from edgeexport.ops.cache_update import cache_update, slot_attention

__all__ = ["Layer", "RmsNorm", "TextModel"]


class RmsNorm(nn.Module):
    """Root-mean-square norm over the last axis, in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + self.epsilon)
        return self.weight * (x * scale)


class GatedMlp(nn.Module):
    """``down(silu(gate(x)) * up(x))``."""

    def __init__(self, width: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=bias)
        self.up_proj = nn.Linear(width, hidden, bias=bias)
        self.down_proj = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class _Attention(nn.Module):
    """Grouped-query attention; query head h reads KV head h // (Hq / Hkv)."""

    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = spec.query_heads, spec.kv_heads, spec.head_size
        self.q_proj = nn.Linear(spec.width, spec.query_heads * spec.head_size, bias=spec.qkv_bias)
        self.k_proj = nn.Linear(spec.width, spec.kv_heads * spec.head_size, bias=spec.qkv_bias)
        self.v_proj = nn.Linear(spec.width, spec.kv_heads * spec.head_size, bias=spec.qkv_bias)
        self.o_proj = nn.Linear(spec.query_heads * spec.head_size, spec.width, bias=spec.output_bias)

    def projected(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, Hq, n, D), keys and values (B, Hkv, n, D), queries and keys turned."""
        query, key, value = (
            made.reshape(x.shape[0], x.shape[1], heads, self.size).transpose(1, 2)
            for made, heads in (
                (self.q_proj(x), self.heads),
                (self.k_proj(x), self.kv_heads),
                (self.v_proj(x), self.kv_heads),
            )
        )
        return turned(query, rotation), turned(key, rotation), value

    def whole(self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        """Attention of all places, ``hidden`` bool (B, 1, n, n) left out; (B, n, C)."""
        groups = self.heads // self.kv_heads
        batch, _, places, size = query.shape
        key, value = (
            part[:, :, None].expand(-1, -1, groups, -1, -1).reshape(batch, self.heads, places, size)
            for part in (key, value)
        )
        logits = (query * size**-0.5) @ key.transpose(2, 3)
        attention = torch.softmax(torch.where(hidden, torch.finfo(torch.float32).min, logits), dim=-1)
        return self.o_proj((attention @ value).transpose(1, 2).reshape(batch, places, -1))


class Layer(nn.Module):
    """A pre-norm decoder layer."""

    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(spec.width, spec.norm_epsilon)
        self.self_attn = _Attention(spec)
        self.post_attention_layernorm = RmsNorm(spec.width, spec.norm_epsilon)
        self.mlp = GatedMlp(spec.width, spec.hidden, bias=False)

    def prompt(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], hidden: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """A whole prompt: (B, L, C) -> (B, L, C), and its queries, keys and values, turned."""
        query, key, value = self.self_attn.projected(self.input_layernorm(x), rotation)
        x = x + self.self_attn.whole(query, key, value, hidden)
        return x + self.mlp(self.post_attention_layernorm(x)), (query, key, value)

    def step(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        past: tuple[Tensor, Tensor],
        slot: Tensor,
        shown: Tensor,
        form: str,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One new token.

        Args:
            x: (B, 1, C).
            rotation: Of its true position.
            past: Keys and values (B, Hkv, S, D) of S slots.
            slot: int64 (B,), where the new key and value go.
            shown: bool (B, S), slots that are read, the new one among them.
            form: See `edgeexport.ops.cache_update.cache_update`.
        """
        query, key, value = self.self_attn.projected(self.input_layernorm(x), rotation)
        keys = cache_update(past[0], key, slot, form)
        values = cache_update(past[1], value, slot, form)
        attended = slot_attention(query, keys, values, shown, form)
        x = x + self.self_attn.o_proj(attended)
        return x + self.mlp(self.post_attention_layernorm(x)), (keys, values)


class TextModel(nn.Module):
    """Embedding, layers and final norm; keys ``embed_tokens``, ``layers.#`` and ``norm``."""

    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(spec.vocabulary, spec.width)
        self.layers = nn.ModuleList(Layer(spec) for _ in range(spec.layers))
        self.norm = RmsNorm(spec.width, spec.norm_epsilon)

    def in_order(self) -> list[Layer]:
        """The layers."""
        return [cast(Layer, layer) for layer in self.layers]
