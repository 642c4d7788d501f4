"""A language model's graphs compared: with the fixed form in torch, that with the published loops, the cache whole with none.

Prompts are drawn by seed, photographs are the shipped ones; they differ in the number of their tokens. A decision that both
executions took differently within the tolerance of a near tie is followed: the reference merges by the candidate's decisions,
and outputs are compared from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexport.backends.prompt_runner import PromptRunner
from edgeexport.config.place import Place
from edgeexport.fixed.prompt_model import PromptModel
from edgeexport.inputs.photos import open_photo, shipped_photos
from edgeexport.inputs.prompt import LaidOutPrompt, image_patches, laid_out_prompt
from edgeexport.inputs.prompt_facts import PromptFacts
from edgeexport.ops.cache_merge import cache_merge
from edgeexport.tokens.cache import KeptCache, PromptLayer
from edgeexport.verify.compare import (
    Comparison,
    DecisionDifference,
    decision_difference,
    float_difference,
    judged,
)
from edgeexport.verify.tolerances import FP32

__all__ = [
    "FOLLOWING",
    "PromptCase",
    "TorchPrompt",
    "fixed_run",
    "graph_comparison",
    "prompt_cases",
    "published_comparison",
    "whole_comparison",
]

FOLLOWING = 4
"""Tokens that are decoded of every prompt."""

_SHARES = (1.0, 0.6)


@dataclass(frozen=True)
class PromptCase:
    """A prompt, the patches of its images, and given tokens that follow it."""

    name: str
    prompt: LaidOutPrompt
    pixels: NDArray | None
    following: tuple[int, ...]


def prompt_cases(facts: PromptFacts) -> list[PromptCase]:
    """Two, of different numbers of tokens, the first as long as the graph takes."""
    rng = np.random.default_rng(17)
    photos = shipped_photos()
    cases = []
    visual = sum(facts.visual_tokens)
    for number, share in enumerate(_SHARES):
        text = max(int(share * facts.length) - visual, len(facts.grids) + 1)
        usable = [token for token in range(min(facts.vocabulary, 4096)) if token != facts.image_token]
        words = rng.choice(usable, text).tolist()
        ids: list[int] = []
        for n, count in enumerate(facts.visual_tokens):
            at = text // (len(facts.grids) + 1)
            ids += words[n * at : (n + 1) * at] + [int(facts.image_token or 0)] * count
        ids += words[len(facts.grids) * (text // (len(facts.grids) + 1)) :]
        prompt = laid_out_prompt(
            ids, facts.length, image_token=facts.image_token, grids=facts.grids, merge=facts.merge, axes=facts.axes
        )
        parts = [
            image_patches(open_photo(photos[(number + n) % len(photos)]), grid, facts.patch, facts.frames, facts.merge)
            for n, grid in enumerate(facts.grids)
        ]
        following = tuple(int(token) for token in rng.choice(usable, min(FOLLOWING, facts.new_tokens)))
        pixels = np.concatenate(parts) if parts else None
        cases.append(PromptCase(f"prompt of {prompt.tokens} tokens", prompt, pixels, following))
    return cases


class _Watched(nn.Module):
    """A step that remembers what it was given and gave; with ``imposed`` it merges by those decisions."""

    def __init__(
        self, step: nn.Module | None, imposed: tuple[Tensor, Tensor] | None = None, average: bool = True
    ) -> None:
        super().__init__()
        self.step, self.imposed, self.average = step, imposed, average
        self.given: PromptLayer | None = None
        self.kept: KeptCache | None = None

    def forward(self, layer: PromptLayer) -> KeptCache:
        self.given = layer
        if self.imposed is not None:
            pivot, target = self.imposed
            key, value, count = cache_merge(layer.key, layer.value, pivot, target, average_keys=self.average)
            self.kept = KeptCache(key, value, pivot, target, count)
        elif self.step is not None:
            self.kept = self.step(layer)
        else:
            length = layer.key.shape[2]
            places = torch.arange(length).expand(*layer.key.shape[:2], length)
            self.kept = KeptCache(layer.key, layer.value, places, places, torch.ones_like(places))
        return self.kept


class TorchPrompt:
    """One prompt through the model in torch: ``layers`` (what each step saw), ``kept``, and ``logits`` (1 + following, V)."""

    @torch.no_grad()
    def __init__(
        self,
        fixed: PromptModel,
        case: PromptCase,
        steps: Sequence[nn.Module | None],
        slots: int,
        imposed: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        prompt, spec = case.prompt, fixed.recipe.model
        average = getattr(fixed.recipe.reduction, "merge", "kv") == "kv"
        given: Sequence[tuple[Tensor, Tensor] | None] = imposed or [None] * len(steps)
        watched = [_Watched(step, own, average) for step, own in zip(steps, given, strict=True)]
        modules = fixed.modules(watched, slots)
        features = () if case.pixels is None else modules["vision"](torch.from_numpy(case.pixels))
        (embedded,) = modules["embedding"](torch.from_numpy(prompt.input_ids), *features)
        mask, modality = torch.from_numpy(prompt.attention_mask), torch.from_numpy(prompt.modality)
        out = modules["prefill"](embedded, mask, torch.from_numpy(prompt.position_ids), modality)
        layers = len(watched)
        caches = list(out[1 : 1 + 2 * layers])
        shown = torch.zeros(1, slots + spec.new_tokens, dtype=torch.int64)
        if slots == spec.prompt and all(step is None for step in steps):
            shown[:, :slots] = mask
        else:
            shown[:, : min(prompt.tokens, slots)] = 1
        said = [out[0][0, -1]]
        for step, token in enumerate(case.following):
            shown[:, slots + step] = 1
            shape = (1, 1) if spec.position_axes == 1 else (3, 1, 1)
            position = torch.full(shape, prompt.next_position + step)
            ids = torch.full((1, spec.prompt), token)
            (embedded,) = modules["embedding"](ids, *features)
            logits, *caches = modules["decode"](embedded[:, -1:], shown, position, *caches)
            said.append(logits[0, -1])
        self.layers = [step.given for step in watched if step.given is not None]
        self.kept = [step.kept for step in watched if step.kept is not None]
        self.logits = torch.stack(said).numpy()


def fixed_run(fixed: PromptModel, case: PromptCase) -> TorchPrompt:
    """The fixed form in torch, which two comparisons look at."""
    facts = fixed.recipe.prompt_facts
    steps = list(fixed.steps) if fixed.steps is not None else [None] * facts.layers
    return TorchPrompt(fixed, case, steps, facts.slots)


def published_comparison(fixed: PromptModel, case: PromptCase, run: TorchPrompt) -> Comparison:
    """The decisions and caches of a `fixed_run` beside the published loops', layer by layer on the same keys and queries."""
    method, recipe = fixed.recipe.cache_method, fixed.recipe
    assert method is not None
    decisions: list[DecisionDifference] = []
    outputs = []
    for number, (layer, kept) in enumerate(zip(run.layers, run.kept, strict=True)):
        told = method.published(recipe.reduction, layer, number)
        own, same = _decisions(number, kept, told, case.prompt.attention_mask)
        decisions += own
        if same:
            for part in ("key", "value"):
                name = f"{part}.{number}"
                outputs.append(float_difference(name, getattr(kept, part).numpy(), getattr(told.kept, part).numpy()))
    return judged("fixed form", "FlowMM in loops, float64", "fixed torch", (case.name,), outputs, decisions)


def _decisions(number: int, kept: KeptCache, told: Any, mask: NDArray) -> tuple[list[DecisionDifference], bool]:
    """Pivots of every KV head by importance, and targets by the lead of the best cosine."""
    found = []
    heads = kept.pivot.shape[1]
    for head in range(heads):
        a, b = (pivots.pivot[:, head].numpy() for pivots in (kept, told.kept))
        score = np.where(mask > 0, told.importance[:, head], np.nan)
        found.append(decision_difference(f"pivot.{number}", a, b, score, image=number * heads + head))
        if not np.array_equal(a, b):
            continue
        moved = kept.target[:, head].numpy() != told.kept.target[:, head].numpy()
        lead = told.lead[:, head][moved]
        farthest = float(lead.max()) if moved.any() else None
        found.append(
            DecisionDifference(
                stage=f"target.{number}",
                equal=not moved.any(),
                jaccard=1 - float(moved.mean()),
                tokens=moved.size,
                differing=int(moved.sum()),
                margin=float(np.min(told.lead[:, head])),
                farthest=farthest,
                image=number * heads + head,
                allowed=FP32.similarity,
            )
        )
    return found, all(item.equal for item in found)


def whole_comparison(fixed: PromptModel, case: PromptCase) -> Comparison:
    """With a slot for every place, the method leaves the plain model's logits."""
    recipe, method = fixed.recipe, fixed.recipe.cache_method
    assert method is not None
    facts, length = recipe.cache_facts, recipe.model.prompt
    entry = {**method.resolved(recipe.reduction), "budget": length}
    spec = method.spec_from_config(entry, Place("whole"), facts)
    steps = [method.step(spec, facts, layer) for layer in range(facts.layers)]
    kept = TorchPrompt(fixed, case, steps, length)
    plain = TorchPrompt(fixed, case, [None] * facts.layers, length)
    outputs = [float_difference("logits", kept.logits, plain.logits)]
    return judged("whole cache", "plain model", "budget of the whole prompt", (case.name,), outputs, [])


def graph_comparison(fixed: PromptModel, case: PromptCase, runner: PromptRunner, run: TorchPrompt) -> Comparison:
    """The graphs' decisions, caches and logits beside those of a `fixed_run`."""
    facts = runner.facts
    logits = [runner.prompt(case.prompt, case.pixels)]
    prefilled = dict(runner.prefilled)
    logits += [runner.next(token) for token in case.following]
    steps = list(fixed.steps) if fixed.steps is not None else [None] * facts.layers
    decisions: list[DecisionDifference] = []
    imposed = []
    if fixed.steps is not None:
        for number, (layer, kept) in enumerate(zip(run.layers, run.kept, strict=True)):
            pivot, target = (torch.from_numpy(prefilled[f"{name}.{number}"]) for name in ("pivot", "target"))
            imposed.append((pivot, target))
            method = fixed.recipe.cache_method
            assert method is not None
            same = torch.equal(pivot, kept.pivot) and torch.equal(target, kept.target)
            told = method.published(fixed.recipe.reduction, layer, number)
            candidate = KeptCache(kept.key, kept.value, pivot, target, kept.count)
            own, _ = _decisions(number, candidate, told, case.prompt.attention_mask)
            decisions += own if not same else [item for item in own if item.equal]
    apart = [item for item in decisions if not item.equal]
    facts_told: dict[str, object] = {}
    if apart and all(item.near_tie for item in apart):
        facts_told = {"followed": f"{len(apart)} near ties, the reference merges by the graph's decisions"}
        run = TorchPrompt(fixed, case, steps, facts.slots, imposed)
        decisions = [item for item in decisions if item.equal]
    outputs = [float_difference("logits", np.stack(logits), run.logits)]
    for number, kept in enumerate(run.kept if fixed.steps is not None else ()):
        for part in ("key", "value"):
            found = prefilled[f"present.{number}.{part}"][:, :, : facts.slots]
            outputs.append(float_difference(f"present.{number}.{part}", found, getattr(kept, part).numpy()))
    name = f"onnxruntime {runner.version}"
    return judged("graphs", "fixed torch", name, (case.name,), outputs, decisions, facts_told)
