"""What a cache's budget costs a real language model: SmolLM2-135M, text alone, so that flow is not at stake.

A text is read once, its cache shrunk to a budget, and everything after the prompt is computed from the shrunk cache: the
continuation's perplexity (the first token apart, which comes from the prompt itself), and whether a number that stood
somewhere in the prompt is told, behind given first words of the answer. Text is the Python language reference, which comes
with Python.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.config.place import Place
from edgeexport.hosts.decoder.config import decoder_from_config
from edgeexport.hosts.decoder.model import DecoderModel, Prefill
from edgeexport.hosts.decoder.weights import decoder_with_weights, state_of_folder
from edgeexport.ops.cache_match import cache_match
from edgeexport.ops.cache_merge import cache_merge
from edgeexport.tokens.cache import KeptCache, PromptLayer, proxy_importance

__all__ = ["BUDGETS", "METHODS", "Read", "continued", "loaded", "measure_answers", "read_prompt", "shrunk"]

BUDGETS = (0.6, 0.4, 0.2, 0.1, 0.05)
_PROXIES, _SINK, _SHARE = 16, 4, 0.5
_DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
_CITIES = ("Lisbon", "Oslo", "Cairo", "Lima", "Kyoto", "Dublin", "Quito", "Vienna", "Hanoi", "Boston")
_SEED = 2025
_WINDOWS = 12
"""Texts at most."""


@dataclass(frozen=True)
class Method:
    """Importance by a rule, and what becomes of tokens without a slot.

    Attributes:
        title: For people.
        importance: 'attention' of the last tokens, 'recent' (the first ones and the latest), or 'random'.
        protect: Share of the slots that absorb nothing, the most important; 1: what has no slot is dropped.
        average_keys: Merge keys as well as values.
    """

    title: str
    importance: str
    protect: float
    average_keys: bool = True


METHODS = {
    "flowmm": Method("FlowMM, half protected", "attention", _SHARE),
    "values": Method("FlowMM, half protected, values alone", "attention", _SHARE, average_keys=False),
    "unprotected": Method("FlowMM, no protection", "attention", 0.0),
    "evict": Method("eviction", "attention", 1.0),
    "recent": Method("sink + recent", "recent", 1.0),
    "random": Method("random", "random", 1.0),
}


@dataclass(frozen=True)
class Read:
    """A prompt after the model has read it: every layer's keys, values and last queries."""

    layers: tuple[PromptLayer, ...]

    @property
    def length(self) -> int:
        """Its tokens."""
        return self.layers[0].key.shape[2]


class _Seen(nn.Module):
    """Leaves a layer's cache and remembers what a method needs of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: PromptLayer | None = None

    def forward(self, layer: PromptLayer) -> KeptCache:
        last = layer.query[:, :, -_PROXIES:].clone()
        self.layer = PromptLayer(last, layer.key, layer.value, layer.modality, layer.valid)
        places = torch.arange(layer.key.shape[2]).expand(*layer.key.shape[:3])
        return KeptCache(layer.key, layer.value, places, places, torch.ones_like(places))


def loaded(folder: Path, prompt: int, new_tokens: int) -> tuple[DecoderModel, Tokenizer]:
    """The model of a Hugging Face folder, and its tokenizer."""
    asked = {"prompt": prompt, "new_tokens": new_tokens}
    spec = decoder_from_config({"type": "decoder", "folder": str(folder.absolute())}, asked, Place("evidence"), Path())
    model = decoder_with_weights(spec, state_of_folder(folder), str(folder))
    return model, Tokenizer.from_file(str(folder / "tokenizer.json"))


@torch.no_grad()
def read_prompt(model: DecoderModel, ids: Sequence[int]) -> Read:
    """Reads a prompt without padding."""
    steps = [_Seen() for _ in model.model.in_order()]
    given = torch.tensor([list(ids)])
    mask = torch.ones_like(given)
    Prefill(model, steps)(model.model.embed_tokens(given), mask, torch.arange(len(ids))[None])
    return Read(tuple(step.layer for step in steps if step.layer is not None))


@torch.no_grad()
def shrunk(read: Read, method: Method, slots: int, rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer in so many slots."""
    kept = []
    for layer in read.layers:
        importance = _importance(method.importance, layer, rng)
        heads = layer.key.shape[1]
        pivot, target = cache_match(
            layer.key, importance, layer.modality, layer.valid, budget=slots, cross=True,
            protect=(round(method.protect * slots),) * heads, absorb=method.protect < 1,
        )  # fmt: skip
        merged = cache_merge(layer.key, layer.value, pivot, target, average_keys=method.average_keys)
        kept.append((merged[0], merged[1]))
    return kept


def _importance(rule: str, layer: PromptLayer, rng: np.random.Generator) -> Tensor:
    """(1, KV heads, L)."""
    heads, length = layer.key.shape[1:3]
    if rule == "attention":
        return proxy_importance(layer.query, layer.key, layer.valid)
    if rule == "random":
        return torch.from_numpy(rng.random((1, heads, length), np.float32))
    recent = torch.arange(length, dtype=torch.float32)
    recent[:_SINK] = 2.0 * length
    return recent.expand(1, heads, length)


@torch.no_grad()
def continued(
    model: DecoderModel, caches: Sequence[tuple[Tensor, Tensor]], ids: Sequence[int], position: int
) -> NDArray:
    """float32 (n, V), logits behind each of n given tokens that stand from ``position`` on, read with such caches."""
    x = model.model.embed_tokens(torch.tensor([list(ids)]))
    rotation = model.rotation(torch.arange(position, position + len(ids))[None])
    slots = caches[0][0].shape[2]
    seen = torch.ones(len(ids), slots + len(ids), dtype=torch.bool).tril(slots)
    for layer, (past_key, past_value) in zip(model.model.in_order(), caches, strict=True):
        query, key, value = layer.self_attn.projected(layer.input_layernorm(x), rotation)
        key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
        x = x + layer.self_attn.o_proj(attended.transpose(1, 2).reshape(1, len(ids), -1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return model.lm_head(model.model.norm(x))[0].numpy()


def measure_answers(
    load: Callable[[], tuple[DecoderModel, Tokenizer]],
    kept: Path,
    *,
    length: int,
    following: int,
    texts: int,
    needles: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Every method at every budget; what was measured is kept, and the same call goes on.

    Args:
        load: See `loaded`; called where something is left to measure.
        kept: JSON file of what was measured.
        length: Tokens of a prompt.
        following: Tokens of a continuation.
        texts: Windows of text whose continuation is read.
        needles: Prompts with a number in them.
        say: Hears how far it is.
    """
    rows = _rows(length)
    asked = {"length": length, "following": following}
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    if {key: found.get(key) for key in asked} != asked:
        found = {**asked, "texts": {}, "needles": {}}
    wanted = {"texts": texts, "needles": needles}
    todo = [
        (kind, number)
        for number in range(max(texts, needles))
        for kind, count in wanted.items()
        if number < count and str(number) not in found[kind]
    ]
    model, tokenizer = load() if todo else (None, None)
    windows = [] if tokenizer is None else list(_windows(tokenizer, length + following))
    for kind, number in todo:
        assert model is not None and tokenizer is not None
        say(f"{kind} {number + 1}")
        rng = np.random.default_rng([_SEED, number, len(kind)])
        own: dict[str, float] = {}
        if kind == "texts":
            prompt, rest = windows[number][:length], windows[number][length:]
            for name, logits in _continuations(model, prompt, rest[:-1], rows, rng):
                own[name] = _negative_log_likelihood(logits, rest[1:])
        else:
            prompt, begin, answer = _needle(tokenizer, number, length)
            for name, logits in _continuations(model, prompt, [*begin, *answer[:-1]], rows, rng):
                own[name] = float(np.array_equal(logits[len(begin) - 1 :].argmax(axis=1), answer))
        found[kind][str(number)] = own
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found))
    told = [
        {**row, **{kind: [found[kind][str(n)][name] for n in range(count)] for kind, count in wanted.items()}}
        for name, row in rows.items()
    ]
    return {**asked, "rows": told}


def _rows(length: int) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {"whole": {"method": "whole", "budget": 1.0, "slots": length}}
    for budget in BUDGETS:
        for method in METHODS:
            slots = math.ceil(budget * length)
            rows[f"{method} {budget}"] = {"method": method, "budget": budget, "slots": slots}
    return rows


def _continuations(
    model: DecoderModel, prompt: Sequence[int], ids: Sequence[int], rows: Mapping[str, Any], rng: np.random.Generator
) -> Iterator[tuple[str, NDArray]]:
    read = read_prompt(model, prompt)
    for name, told in rows.items():
        caches = [(layer.key, layer.value) for layer in read.layers]
        if name != "whole":
            caches = shrunk(read, METHODS[told["method"]], told["slots"], rng)
        yield name, continued(model, caches, ids, read.length)


def _negative_log_likelihood(logits: NDArray, wanted: Sequence[int]) -> float:
    """Mean over tokens, in nats."""
    told = F.log_softmax(torch.from_numpy(logits).double(), dim=-1)
    return -float(told[torch.arange(len(wanted)), torch.tensor(list(wanted))].mean())


def _text() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def _windows(tokenizer: Tokenizer, length: int) -> Iterator[list[int]]:
    """Windows of the text that do not overlap, spread over all of it, whatever number of them is read."""
    ids = tokenizer.encode(_text()).ids
    apart = len(ids) // _WINDOWS
    assert apart >= length, f"the text has room for {len(ids) // length} windows"
    for number in range(_WINDOWS):
        yield ids[number * apart : number * apart + length]


def _needle(tokenizer: Tokenizer, number: int, length: int) -> tuple[list[int], list[int], list[int]]:
    """A prompt of ``length`` tokens with a number in it, the first words of an answer, and the number's digits."""
    rng = np.random.default_rng([_SEED, number])
    city, digits = _CITIES[number % len(_CITIES)], "".join(map(str, rng.integers(0, 10, 4)))
    sentence = f"\nThe secret number of {city} is {digits}.\n"
    head = tokenizer.encode("<|im_start|>user\n").ids
    tail = tokenizer.encode(
        f"\n\nWhat is the secret number of {city}?<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False
    ).ids
    needle = tokenizer.encode(sentence).ids
    room = length - len(head) - len(tail) - len(needle)
    text = tokenizer.encode(_text()).ids
    start = int(rng.integers(0, len(text) - room))
    filler, at = text[start : start + room], int(_DEPTHS[number % len(_DEPTHS)] * room)
    prompt = [*head, *filler[:at], *needle, *filler[at:], *tail]
    begin = tokenizer.encode(f"The secret number of {city} is ").ids
    answer = tokenizer.encode(digits).ids
    assert len(prompt) == length and len(answer) == len(digits)
    return prompt, begin, answer
