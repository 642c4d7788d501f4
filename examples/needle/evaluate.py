"""What a cache's budget costs in answers: `python -m examples.needle.evaluate --samples 150`.

Answers are two tokens: the first comes from the prompt itself, the second from the shrunk cache. A prompt counts as right
where both are. The methods: FlowMM in its adaptive form, its ablations, eviction, the first tokens with the most recent ones
(sink), and slots at random. Theta and tau are chosen on validation prompts of another seed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeexport.hosts.decoder.model import Decode, DecoderModel, Embedding, Prefill, Vision
from edgeexport.ops.cache_match import cache_match
from edgeexport.ops.cache_merge import cache_merge
from edgeexport.reductions.flowmm_published import published_cache
from edgeexport.reductions.flowmm_spec import FlowMMSpec
from edgeexport.tokens.cache import KeptCache, PromptLayer
from examples.needle.settings import MODEL_FOLDER, needle_spec
from examples.needle.tasks import LENGTH, TASKS, Sample, drawn_sample

__all__ = ["BUDGETS", "Encoded", "answered", "encoded", "interval", "main", "methods"]

BUDGETS = (0.6, 0.4, 0.2, 0.1, 0.05)
_PROXIES, _SINK = 4, 2


class _Seen(nn.Module):
    """Leaves a layer's cache whole and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: PromptLayer | None = None

    def forward(self, layer: PromptLayer) -> KeptCache:
        self.layer = layer
        places = torch.arange(layer.key.shape[2]).expand(*layer.key.shape[:3])
        return KeptCache(layer.key, layer.value, places, places, torch.ones_like(places))


@dataclass(frozen=True)
class Encoded:
    """A prompt after the model has read it: every layer's queries, keys and values, and the first token of the answer."""

    sample: Sample
    layers: tuple[PromptLayer, ...]
    first: int


Method = Callable[[PromptLayer, int, int, np.random.Generator], KeptCache]
"""A layer, its number, the slots, a generator."""


@torch.no_grad()
def encoded(model: DecoderModel, sample: Sample) -> Encoded:
    """Reads one prompt."""
    steps = [_Seen() for _ in model.model.in_order()]
    features = Vision(model)(torch.from_numpy(sample.pixels))
    x = Embedding(model)(torch.from_numpy(sample.prompt.input_ids), features)
    prompt = sample.prompt
    mask, modality = torch.from_numpy(prompt.attention_mask), torch.from_numpy(prompt.modality)
    logits = Prefill(model, steps)(x, mask, torch.from_numpy(prompt.position_ids), modality)[0]
    layers = tuple(step.layer for step in steps if step.layer is not None)
    return Encoded(sample, layers, int(logits[0, -1].argmax()))


@torch.no_grad()
def answered(model: DecoderModel, read: Encoded, method: Method | None, slots: int, seed: int) -> bool:
    """Whether both tokens of the answer are right with the cache in this many slots (None: whole)."""
    if read.first != read.sample.answer[0]:
        return False
    rng, caches = np.random.default_rng(seed), []
    for number, layer in enumerate(read.layers):
        kept = layer if method is None else method(layer, number, slots, rng)
        free = torch.zeros(*kept.key.shape[:2], model.spec.new_tokens, kept.key.shape[3])
        caches += [torch.cat([part, free], dim=2) for part in (kept.key, kept.value)]
    held = LENGTH if method is None else slots
    shown = torch.zeros(1, held + model.spec.new_tokens, dtype=torch.int64)
    tokens = read.sample.prompt.tokens
    if method is None:
        shown[:, :held] = read.layers[0].valid
    else:
        shown[:, : min(tokens, slots)] = 1
    shown[:, held] = 1
    x = model.model.embed_tokens(torch.tensor([[read.first]]))
    position = torch.full((3, 1, 1), read.sample.prompt.next_position)
    logits = Decode(model)(x, shown, position, *caches)[0]
    return int(logits[0, -1].argmax()) == read.sample.answer[1]


def _flowmm(theta: float, tau: float, merge: str = "kv") -> Method:
    def method(layer: PromptLayer, number: int, slots: int, rng: np.random.Generator) -> KeptCache:
        return published_cache(layer, FlowMMSpec(slots, theta, None, tau, None, _PROXIES, 0, merge), number).kept

    return method


def _inverted(theta: float, tau: float) -> Method:
    """Flow misaligned: across where rho says within, and the other way round."""

    def method(layer: PromptLayer, number: int, slots: int, rng: np.random.Generator) -> KeptCache:
        spec = FlowMMSpec(slots, theta, None, tau, None, _PROXIES, 0, "kv")
        rho = float(published_cache(layer, spec, number).rho[0])
        flow = tuple([not rho > theta] * (number + 1))
        return published_cache(layer, replace(spec, theta=None, flow=flow), number).kept

    return method


def _by_importance(rule: Callable[[PromptLayer, np.random.Generator], Tensor]) -> Method:
    """Slots for what is most important by a rule; the others are dropped."""

    def method(layer: PromptLayer, number: int, slots: int, rng: np.random.Generator) -> KeptCache:
        importance = rule(layer, rng).expand(1, layer.key.shape[1], -1)
        pivot, target = cache_match(
            layer.key, importance, layer.modality, layer.valid, budget=slots, cross=False,
            protect=(0,) * layer.key.shape[1], absorb=False,
        )  # fmt: skip
        return KeptCache(*cache_merge(layer.key, layer.value, pivot, target)[:2], pivot, target, pivot)

    return method


def _sink(layer: PromptLayer, rng: np.random.Generator) -> Tensor:
    """The first tokens, then the latest."""
    importance = torch.arange(LENGTH, dtype=torch.float32)
    first = LENGTH - int(layer.valid.sum())
    importance[first : first + _SINK] = 2.0 * LENGTH
    return importance[None, None]


def _random(layer: PromptLayer, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.random((1, 1, LENGTH), np.float32))


def methods(theta: float, tau: float) -> dict[str, Method]:
    """Every method by its name; theta and tau are FlowMM's."""
    return {
        "FlowMM": _flowmm(theta, tau),
        "no flow guidance": _flowmm(-1.0, tau),
        "no protection": _flowmm(theta, math.inf),
        "misaligned flow": _inverted(theta, tau),
        "eviction": _flowmm(theta, tau, "evict"),
        "sink + recent": _by_importance(_sink),
        "random": _by_importance(_random),
    }


def interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def chosen_constants(model: DecoderModel, reads: list[Encoded], slots: int) -> tuple[float, float, list[float]]:
    """Theta and tau that answer most validation prompts right at this budget, and rho of every layer, mean over prompts."""
    looked = FlowMMSpec(1, 0.0, None, 0.0, None, _PROXIES, 0, "evict")
    rho = np.array([[float(published_cache(layer, looked, 0).rho[0]) for layer in read.layers] for read in reads])
    best = (-1, 0.0, 0.0)
    for theta in (float(np.quantile(rho, share)) for share in (0.25, 0.5, 0.75)):
        for tau in (0.05, 0.2, 0.5, 1.0):
            right = sum(answered(model, read, _flowmm(theta, tau), slots, 0) for read in reads)
            best = max(best, (right, theta, tau), key=lambda item: item[0])
    return best[1], best[2], rho.mean(axis=0).tolist()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=150, help="test prompts of each task")
    parser.add_argument("--validation", type=int, default=20, help="validation prompts of each task")
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER.parent / "needle.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = DecoderModel(needle_spec()).eval()
    model.load_state_dict(load_file(asked.model / "model.safetensors"))
    rng = np.random.default_rng(20001)
    validation = [encoded(model, drawn_sample(rng, task)) for task in TASKS for _ in range(asked.validation)]
    theta, tau, rho = chosen_constants(model, validation, math.ceil(0.2 * LENGTH))
    rng = np.random.default_rng(30001)
    reads = {task: [encoded(model, drawn_sample(rng, task)) for _ in range(asked.samples)] for task in TASKS}
    told: dict[str, Any] = {"theta": theta, "tau": tau, "rho": rho, "samples": asked.samples, "rows": []}
    told["flow_differs_between_layers"] = len({value > theta for value in rho}) > 1

    def row(name: str, share: float, method: Method | None) -> None:
        slots = math.ceil(share * LENGTH)
        entry: dict[str, Any] = {"method": name, "budget": share, "slots": slots}
        total = 0
        for task, own in reads.items():
            right = sum(answered(model, read, method, slots, number) for number, read in enumerate(own))
            entry[task] = right / len(own)
            total += right
        count = len(TASKS) * asked.samples
        entry |= {"all": total / count, "interval": interval(total, count)}
        told["rows"].append(entry)
        low, high = entry["interval"]
        parts = " ".join(f"{task} {entry[task]:.1%}" for task in TASKS)
        print(f"{share:5.0%} {name:18s} {entry['all']:6.1%} [{low:.1%}, {high:.1%}]  {parts}", flush=True)

    print(f"theta {theta:.3f}, tau {tau}, rho per layer {', '.join(f'{value:.3f}' for value in rho)}")
    row("whole cache", 1.0, None)
    for share in BUDGETS:
        for name, method in methods(theta, tau).items():
            row(name, share, method)
    asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
