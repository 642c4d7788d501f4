"""The golden Qwen2.5-VL in torch: prompt, merged caches, and the logits of every step, adaptive, fixed and evicting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from decoder_cases import adaptive_steps, fixed_spec, flowmm_cases, golden_decoder, golden_prompt, steps_of
from torch import Tensor

from edgeexport.hosts.decoder.model import Decode, Embedding, Prefill, Vision

ATOL = 1e-4


def decoded(model: Any, out: tuple[Tensor, ...], slots: int, golden: Any) -> np.ndarray:
    """Logits (1, steps, V) of the golden continuation from a prefill's caches."""
    layers = model.spec.text.layers
    caches = list(out[1 : 1 + 2 * layers])
    mask = torch.zeros(1, caches[0].shape[2], dtype=torch.int64)
    mask[:, :slots] = 1
    first = int(golden.arrays["position_ids"].max()) + 1
    logits = []
    for step, token in enumerate(golden.arrays["follow_ids"][0]):
        mask[:, slots + step] = 1
        embedded = model.model.embed_tokens(torch.tensor([[int(token)]]))
        said, *caches = Decode(model)(embedded, mask, torch.full((3, 1, 1), first + step), *caches)
        logits.append(said[:, 0])
    return torch.stack(logits, 1).numpy()


@torch.no_grad()
@pytest.mark.parametrize("case", ["full", *flowmm_cases()])
def test_flowmm_qwen2_5_vl_is_golden(case: str) -> None:
    model, golden = golden_decoder()
    features = Vision(model)(torch.from_numpy(golden.arrays["pixel_values"]))
    embedded = Embedding(model)(torch.from_numpy(golden.arrays["input_ids"]), features)
    prompt = golden_prompt(golden)
    if case == "full":
        out = Prefill(model, None)(embedded, **prompt)
        np.testing.assert_allclose(out[0][:, 0].numpy(), golden.arrays["prefill_logits"], atol=ATOL)
        found = decoded(model, out, embedded.shape[1], golden)
    else:
        entry = golden.config["cases"][case]
        forms = {"fixed form": steps_of(fixed_spec(golden, case), model)}
        if "tau" in entry:
            forms["adaptive form"] = adaptive_steps(golden, case)
        for name, steps in forms.items():
            out = Prefill(model, steps)(embedded, **prompt)
            for layer in range(model.spec.text.layers):
                kept = dict(zip(("key", "value"), out[1 + 2 * layer : 3 + 2 * layer], strict=True))
                for part, tensor in kept.items():
                    told = golden.arrays[f"{case}_{part}_{layer}"]
                    np.testing.assert_allclose(tensor[0, :, : told.shape[1]].numpy(), told, atol=ATOL, err_msg=name)
                decided = out[1 + 2 * model.spec.text.layers + 2 * layer :][:2]
                for part, tensor in zip(("pivot", "target"), decided, strict=True):
                    np.testing.assert_array_equal(tensor[0].numpy(), golden.arrays[f"{case}_{part}_{layer}"], name)
            found = decoded(model, out, entry["budget"], golden)
            np.testing.assert_allclose(found, golden.arrays[f"{case}_logits"], atol=ATOL, err_msg=name)
    np.testing.assert_allclose(found, golden.arrays[f"{case}_logits"], atol=ATOL)
