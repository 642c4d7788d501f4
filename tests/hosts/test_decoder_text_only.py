"""Text-only decoders with seeded weights beside transformers: logits of a prompt, and of tokens behind a whole cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeexport.config.place import Place
from edgeexport.errors import RecipeError
from edgeexport.hosts.decoder.config import decoder_from_config
from edgeexport.hosts.decoder.model import Decode, Prefill
from edgeexport.hosts.decoder.weights import seeded_decoder

transformers = pytest.importorskip("transformers")

LENGTH, VALID, NEW = 12, 9, 3
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 61,
}
CASES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "rope_theta": 5e4, "rms_norm_eps": 1e-5},
    "llama with biases": {"model_type": "llama", "attention_bias": True, "rms_norm_eps": 1e-6},
    "llama, tied, all heads": {
        "model_type": "llama", "num_key_value_heads": 4, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    },
    "llama, wide heads": {"model_type": "llama", "head_dim": 16, "rms_norm_eps": 1e-6},
    "qwen2": {"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
}  # fmt: skip


def decoder(config: dict[str, Any]) -> Any:
    given = {"type": "decoder", "config": {**SMALL, **config}}
    return decoder_from_config(given, {"prompt": LENGTH, "new_tokens": NEW}, Place("test"), Path())


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_seeded_text_decoders_give_the_logits_of_transformers(case: str) -> None:
    from edgeexport.verify.transformers_original import transformers_model

    config = {**SMALL, **CASES[case]}
    spec = decoder(CASES[case])
    model = seeded_decoder(spec, 3)
    original = transformers_model(spec.architecture, config, model.state_dict())
    ids = torch.from_numpy(np.random.default_rng(5).integers(0, 61, (1, VALID + NEW)))
    expected = original(input_ids=ids).logits[0, VALID - 1 :].numpy()

    padded = torch.cat([torch.zeros(1, LENGTH - VALID, dtype=torch.int64), ids[:, :VALID]], dim=1)
    mask = (torch.arange(LENGTH) >= LENGTH - VALID).long()[None]
    positions = (torch.arange(LENGTH) - (LENGTH - VALID)).clamp(min=0)[None]
    logits, *caches = Prefill(model, None)(model.model.embed_tokens(padded), mask, positions)
    said = [logits[0, 0]]
    shown = torch.cat([mask, torch.zeros(1, NEW, dtype=torch.int64)], dim=1)
    for step in range(NEW):
        shown[:, LENGTH + step] = 1
        embedded = model.model.embed_tokens(ids[:, VALID + step : VALID + step + 1])
        logits, *caches = Decode(model)(embedded, shown, torch.tensor([[VALID + step]]), *caches)
        said.append(logits[0, 0])
    np.testing.assert_allclose(torch.stack(said).numpy(), expected, atol=2e-5)
    assert np.ptp(expected) > 0.1  # seeded logits that all look alike would show nothing


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "scaled rotary"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "sliding window"),
        ({"model_type": "llama", "hidden_act": "gelu"}, "silu"),
        ({"model_type": "llama", "num_key_value_heads": 3}, "does not divide"),
        ({"model_type": "llama", "num_attention_heads": 5, "num_key_value_heads": 5}, "does not divide"),
        ({"model_type": "llama", "num_hidden_layers": 0}, "num_hidden_layers"),
    ],
)
def test_what_no_decoder_of_ours_is_says_what(change: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        decoder(change)
