"""The graphs of a decoder, under the names that ONNX Runtime GenAI has for them and their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from edgeexport.hosts.decoder.model import Decode, DecoderModel, Embedding, Prefill, Vision
from edgeexport.hosts.graph_form import GraphForm
from edgeexport.ops import OPSET
from edgeexport.ops.cache_update import OPSET_OF_FORM
from edgeexport.tokens.cache import KeptCache, PromptLayer

__all__ = ["cache_names", "decoder_graphs", "slots_of"]


class _EmbeddedTuple(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.inner(*inputs),)


def cache_names(prefix: str, layers: int) -> tuple[str, ...]:
    """``present.0.key``, ``present.0.value``, ``present.1.key``, ..."""
    return tuple(f"{prefix}.{layer}.{part}" for layer in range(layers) for part in ("key", "value"))


def slots_of(model: DecoderModel, budget: int | None) -> int:
    """Slots of the cache from prefill to the last token: those kept of a prompt, and one per new token."""
    return (model.spec.prompt if budget is None else budget) + model.spec.new_tokens


def decoder_graphs(
    model: DecoderModel, steps: Sequence[Callable[[PromptLayer], KeptCache]] | None, budget: int | None
) -> tuple[GraphForm, ...]:
    """Vision and embedding (the former with a tower alone), prefill with the cache's merge in it, and decode.

    Args:
        model: In eval mode.
        steps: Per layer, what shrinks its cache; None: it stays whole.
        budget: Slots that a step leaves; None with no steps.
    """
    spec, text = model.spec, model.spec.text
    forms = []
    ids = torch.zeros(1, spec.prompt, dtype=torch.int64)
    embedded = torch.zeros(1, spec.prompt, text.width)
    features: tuple[Tensor, ...] = ()
    if spec.vision is not None:
        tower = spec.vision
        pixels = torch.zeros(spec.patches, tower.channels * tower.frames * tower.patch**2)
        features = (torch.zeros(sum(spec.visual_tokens), text.width),)
        forms.append(
            GraphForm("vision", _EmbeddedTuple(Vision(model)), (pixels,), ("pixel_values",), ("image_features",), OPSET)
        )
    names = ("input_ids", *(("image_features",) if features else ()))
    forms.append(
        GraphForm("embedding", _EmbeddedTuple(Embedding(model)), (ids, *features), names, ("inputs_embeds",), OPSET)
    )

    def positions(places: int) -> Tensor:
        shape = (1, places) if text.sections is None else (3, 1, places)
        return torch.zeros(shape, dtype=torch.int64)

    presents = cache_names("present", text.layers)
    decisions = tuple(f"{name}.{layer}" for layer in range(text.layers) for name in ("pivot", "target"))
    kinds = (torch.zeros(1, spec.prompt, dtype=torch.int32),) if features else ()
    forms.append(
        GraphForm(
            "prefill",
            Prefill(model, steps),
            (embedded, torch.ones_like(ids), positions(spec.prompt), *kinds),
            ("inputs_embeds", "attention_mask", "position_ids", *(("modality",) if kinds else ())),
            ("logits", *presents, *(decisions if steps is not None else ())),
            OPSET,
        )
    )
    slots = slots_of(model, budget)
    past = tuple(torch.zeros(1, text.kv_heads, slots, text.head_size) for _ in presents)
    forms.append(
        GraphForm(
            "decode",
            Decode(model),
            (embedded[:, :1], torch.ones(1, slots, dtype=torch.int64), positions(1), *past),
            ("inputs_embeds", "attention_mask", "position_ids", *cache_names("past_key_values", text.layers)),
            ("logits", *presents),
            OPSET_OF_FORM[spec.cache_update],
        )
    )
    return tuple(GraphForm(f.name, f.module.eval(), f.examples, f.input_names, f.output_names, f.opset) for f in forms)
