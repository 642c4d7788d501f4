"""A decoder's weights under the published key names, and what runs of them: the graphs' four modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from edgeexport.hosts.decoder.rotary import text_rotation
from edgeexport.hosts.decoder.spec import DecoderSpec
from edgeexport.hosts.decoder.text import TextModel
from edgeexport.hosts.decoder.vision import Tower
from edgeexport.tokens.cache import KeptCache, PromptLayer

__all__ = ["Decode", "DecoderModel", "Embedding", "Prefill", "Vision", "hidden_places"]


class DecoderModel(nn.Module):
    """Keys ``model.*``, ``lm_head`` and ``visual.*`` of the published checkpoints."""

    visual: Tower

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        self.spec = spec
        if spec.vision is not None:
            self.visual = Tower(spec.vision, spec.grids)
        self.model = TextModel(spec.text)
        self.lm_head = nn.Linear(spec.text.width, spec.text.vocabulary, bias=False)
        if spec.text.tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def rotation(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """See `text_rotation`; ``position`` int64 (B, n) or (3, B, n)."""
        text = self.spec.text
        return text_rotation(position, text.head_size, text.rope_theta, text.sections)


def hidden_places(valid: Tensor) -> Tensor:
    """bool (B, 1, L, L): keys that a place does not see, later ones and padding; ``valid`` (B, L)."""
    places = torch.arange(valid.shape[1])
    later = places[None] > places[:, None]
    return (later[None] | (valid[:, None] <= 0))[:, None]


class Vision(nn.Module):
    """``pixel_values`` (N, channels frames patch^2) -> ``image_features`` (visual tokens, C)."""

    def __init__(self, model: DecoderModel) -> None:
        super().__init__()
        self.visual = model.visual

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.visual(pixel_values)


class Embedding(nn.Module):
    """``input_ids`` int64 (1, L) and ``image_features`` -> ``inputs_embeds`` (1, L, C).

    The k-th image token of the prompt becomes the k-th visual token.
    """

    def __init__(self, model: DecoderModel) -> None:
        super().__init__()
        self.embed_tokens = model.model.embed_tokens
        self.image_token = model.spec.image_token

    def forward(self, input_ids: Tensor, image_features: Tensor | None = None) -> Tensor:
        text = self.embed_tokens(input_ids)
        if image_features is None:
            return text
        is_image = torch.eq(input_ids, int(self.image_token or 0))
        which = (torch.cumsum(is_image.to(torch.int64), dim=1) - 1).clamp(0, image_features.shape[0] - 1)
        return torch.where(is_image[..., None], image_features[which], text)


class Prefill(nn.Module):
    """A prompt once through all layers, each layer's cache shrunk by its step.

    Inputs ``inputs_embeds`` (1, L, C), ``attention_mask`` int64 (1, L), ``position_ids`` int64 (1, L) or (3, 1, L), and
    ``modality`` int32 (1, L) where there are images. Outputs ``logits`` (1, 1, V) of the last place, then per layer
    ``present.%d.key`` and ``.value`` (1, Hkv, S, D), then ``pivot.%d`` and ``target.%d``. S are the kept slots and
    ``new_tokens``.

    Args:
        model: Its weights.
        steps: Per layer, `PromptLayer` -> `KeptCache`; None: the whole cache stays.
    """

    def __init__(self, model: DecoderModel, steps: Sequence[Callable[[PromptLayer], KeptCache]] | None) -> None:
        super().__init__()
        self.decoder = model
        self.steps = None if steps is None else nn.ModuleList(steps)  # type: ignore[arg-type]

    def forward(
        self, inputs_embeds: Tensor, attention_mask: Tensor, position_ids: Tensor, modality: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        valid = attention_mask.to(torch.int32)
        kinds = torch.zeros_like(valid) if modality is None else modality
        rotation = self.decoder.rotation(position_ids)
        hidden = hidden_places(valid)
        x, caches, decisions = inputs_embeds, [], []
        room = self.decoder.spec.new_tokens
        for number, layer in enumerate(self.decoder.model.in_order()):
            x, (query, key, value) = layer.prompt(x, rotation, hidden)
            if self.steps is not None:
                kept = self.steps[number](PromptLayer(query, key, value, kinds, valid))
                key, value = kept.key, kept.value
                decisions += [kept.pivot, kept.target]
            free = torch.zeros(*key.shape[:2], room, key.shape[3])
            caches += [torch.cat([part, free], dim=2) for part in (key, value)]
        logits = self.decoder.lm_head(self.decoder.model.norm(x[:, -1:]))
        return (logits, *caches, *decisions)


class Decode(nn.Module):
    """One new token.

    Inputs ``inputs_embeds`` (1, 1, C), ``attention_mask`` int64 (1, S), slots that hold something, the last of them the new
    token's, ``position_ids`` int64 (1, 1) or (3, 1, 1), true positions, then per layer ``past_key_values.%d.key`` and
    ``.value`` (1, Hkv, S, D). Outputs ``logits`` (1, 1, V) and the same caches as ``present.%d``.
    """

    def __init__(self, model: DecoderModel) -> None:
        super().__init__()
        self.decoder = model

    def forward(
        self, inputs_embeds: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        shown = attention_mask > 0
        slot = (attention_mask * torch.arange(attention_mask.shape[1])).amax(dim=1)
        rotation = self.decoder.rotation(position_ids)
        x = inputs_embeds
        caches: list[Tensor] = []
        form = self.decoder.spec.cache_update
        for number, layer in enumerate(self.decoder.model.in_order()):
            before = (past[2 * number], past[2 * number + 1])
            x, after = layer.step(x, rotation, before, slot, shown, form)
            caches += after
        return (self.decoder.lm_head(self.decoder.model.norm(x)), *caches)
