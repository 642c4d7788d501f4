"""What a decoder and a method that shrinks its cache speak: facts, one layer's prompt, and what is kept of it.

A decoder encodes a prompt of L places once (left padding), keeps keys and values of every layer, and decodes from them.
Between the two, a method may bring each layer's L tokens to a fixed number of slots. Slots are not positions: keys are
cached after their rotary embedding, so that the place of a slot says nothing, and new tokens go on from the prompt's true
positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CacheFacts", "KeptCache", "PromptLayer", "prompt_attention", "proxy_importance"]


@dataclass(frozen=True)
class CacheFacts:
    """A decoder as a method sees it: layers, query and KV heads of each, channels of a head, places of a prompt, and
    whether some of its tokens may be visual.
    """

    layers: int
    query_heads: int
    kv_heads: int
    head_size: int
    prompt: int
    visual: bool


@dataclass(frozen=True)
class PromptLayer:
    """One layer of an encoded prompt.

    Attributes:
        query: float32 (B, Hq, n, D), of the last n places, after rotary embedding; n = L for all of them.
        key, value: float32 (B, Hkv, L, D), as cached.
        modality: int32 (B, L), 0 text, 1 visual.
        valid: int32 (B, L), 0 for padding, on the left.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    modality: Tensor
    valid: Tensor


@dataclass(frozen=True)
class KeptCache:
    """What is left of a layer's cache, in S slots.

    Attributes:
        key, value: float32 (B, Hkv, S, D); zeros where a slot is empty.
        pivot: int32 (B, Hkv, S), positions ascending, -1 where a slot is empty; empty slots are the last.
        target: int32 (B, Hkv, L), the slot that a token has or went to, -1 for padding and what was dropped.
        count: int32 (B, Hkv, S), tokens in each slot.
    """

    key: Tensor
    value: Tensor
    pivot: Tensor
    target: Tensor
    count: Tensor


def prompt_attention(query: Tensor, key: Tensor, valid: Tensor) -> Tensor:
    """Causal attention of the last n places over valid keys: float32 (B, Hkv, G, n, L), G query heads to a KV head.

    Args:
        query, key, valid: As of `PromptLayer`. Rows of padding mean nothing.
    """
    batch, heads, places, size = query.shape
    length = key.shape[2]
    grouped = query.reshape(batch, key.shape[1], heads // key.shape[1], places, size) * size**-0.5
    logits = grouped @ key[:, :, None].transpose(-2, -1)
    later = torch.arange(length)[None] > torch.arange(length - places, length)[:, None]
    hidden = later[None] | (valid[:, None] <= 0)
    logits = torch.where(hidden[:, None, None], torch.finfo(torch.float32).min, logits)
    return torch.softmax(logits, dim=-1)


def proxy_importance(query: Tensor, key: Tensor, valid: Tensor) -> Tensor:
    """What every token gets of the attention of the last n places, summed over them and a KV head's queries.

    Returns:
        float32 (B, Hkv, L). Places of padding count for nothing.
    """
    attention = prompt_attention(query, key, valid)
    seen = valid[:, -query.shape[2] :].to(attention.dtype)
    return (attention * seen[:, None, None, :, None]).sum(dim=(2, 3))
