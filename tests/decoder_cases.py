"""The golden Qwen2.5-VL as a model of ours, and FlowMM's constants of its cases."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared_cases import GoldenCase, golden_case, golden_folder
from torch import Tensor, nn

from edgeexport.config.place import Place
from edgeexport.hosts.decoder.config import decoder_from_config
from edgeexport.hosts.decoder.model import DecoderModel
from edgeexport.hosts.decoder.weights import decoder_with_weights, state_of_folder
from edgeexport.reductions import CACHE_REDUCTIONS
from edgeexport.reductions.flowmm_published import published_cache
from edgeexport.reductions.flowmm_spec import FlowMMSpec
from edgeexport.tokens.cache import CacheFacts, KeptCache, PromptLayer

NAME = "flowmm_qwen2_5_vl"


def flowmm_cases() -> list[str]:
    config = golden_folder() / NAME / "config.json"
    return list(json.loads(config.read_text())["cases"]) if config.is_file() else ["absent"]


@lru_cache
def golden_decoder(cache_update: str = "operators", new_tokens: int = 6) -> tuple[DecoderModel, GoldenCase]:
    """The model with the golden weights, its prompt as long as the golden one."""
    golden = golden_case(NAME)
    model = {"type": "decoder", "config": golden.config["config"], "cache_update": cache_update}
    sizes = [(int(rows) * 14, int(columns) * 14) for _, rows, columns in golden.arrays["image_grid_thw"]]
    asked = {"prompt": golden.arrays["input_ids"].shape[1], "new_tokens": new_tokens, "images": sizes}
    spec = decoder_from_config(model, asked, Place("golden"), Path())
    return decoder_with_weights(spec, state_of_folder(golden.folder), NAME), golden


def golden_prompt(golden: GoldenCase) -> dict[str, Tensor]:
    ids = torch.from_numpy(golden.arrays["input_ids"])
    return {
        "attention_mask": torch.ones_like(ids),
        "position_ids": torch.from_numpy(golden.arrays["position_ids"]),
        "modality": torch.from_numpy(golden.arrays["modality"].astype(np.int32)),
    }


def facts_of(model: DecoderModel) -> CacheFacts:
    text = model.spec.text
    return CacheFacts(
        text.layers, text.query_heads, text.kv_heads, text.head_size, model.spec.prompt, model.spec.vision is not None
    )


def fixed_spec(golden: GoldenCase, case: str) -> FlowMMSpec:
    """A case's constants; those of an adaptive one as its theta and tau decided, by the golden importance of each pivot."""
    entry = golden.config["cases"][case]
    layers, heads = len(golden.arrays[f"{case}_rho"]), golden.arrays[f"{case}_pivot_0"].shape[0]
    flow = entry.get("cross") or [bool(rho > entry["theta"]) for rho in golden.arrays[f"{case}_rho"]]
    if "protect" in entry:
        protect = ((entry["protect"],) * heads,) * layers
    else:
        protect = tuple(_protected(golden, case, layer, entry["tau"]) for layer in range(layers))
    merge = entry.get("merge", "kv")
    return FlowMMSpec(entry["budget"], None, tuple(flow), None, protect, entry["proxies"], 0, merge)


def adaptive_spec(golden: GoldenCase, case: str) -> FlowMMSpec:
    entry = golden.config["cases"][case]
    return FlowMMSpec(entry["budget"], entry["theta"], None, entry["tau"], None, entry["proxies"], 0, "kv")


def steps_of(spec: FlowMMSpec, model: DecoderModel) -> list[nn.Module]:
    """The fixed form, per layer."""
    facts = facts_of(model)
    return [CACHE_REDUCTIONS["flowmm"].step(spec, facts, layer) for layer in range(facts.layers)]


class _Published(nn.Module):
    def __init__(self, spec: FlowMMSpec, number: int) -> None:
        super().__init__()
        self.spec, self.number = spec, number
        self.importance: Any = None

    def forward(self, layer: PromptLayer) -> KeptCache:
        found = published_cache(layer, self.spec, self.number)
        self.importance = found.importance
        return found.kept


def adaptive_steps(golden: GoldenCase, case: str) -> list[nn.Module]:
    """The adaptive form in loops, per layer."""
    spec = adaptive_spec(golden, case)
    return [_Published(spec, layer) for layer in range(len(golden.arrays[f"{case}_rho"]))]


def _protected(golden: GoldenCase, case: str, layer: int, tau: float) -> tuple[int, ...]:
    """Pivots above tau of every KV head, from a pass of the adaptive form."""
    importance = _importances(case)[layer]
    pivots = golden.arrays[f"{case}_pivot_{layer}"]
    return tuple(int((importance[0, h][p[p >= 0]] > tau).sum()) for h, p in enumerate(pivots))


@lru_cache
def _importances(case: str) -> tuple[Any, ...]:
    from edgeexport.hosts.decoder.model import Embedding, Prefill, Vision

    model, golden = golden_decoder()
    steps = adaptive_steps(golden, case)
    with torch.no_grad():
        features = Vision(model)(torch.from_numpy(golden.arrays["pixel_values"]))
        embedded = Embedding(model)(torch.from_numpy(golden.arrays["input_ids"]), features)
        Prefill(model, steps)(embedded, **golden_prompt(golden))
    return tuple(step.importance for step in steps)  # type: ignore[attr-defined]
