"""The original: transformers' own eager model, its cache merged by the published loops between prompt and decoding.

The library is needed where a bundle is built alone; without it the comparison says that it was not made.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from edgeexport.backends.prompt_runner import PromptRunner
from edgeexport.fixed.prompt_model import PromptModel
from edgeexport.recipe.prompt import PromptRecipe
from edgeexport.tokens.cache import PromptLayer
from edgeexport.verify.compare import (
    Comparison,
    DecisionDifference,
    OutputDifference,
    decision_difference,
    float_difference,
    judged,
)
from edgeexport.verify.prompts import PromptCase
from edgeexport.verify.tolerances import FP32

__all__ = ["original_comparison", "transformers_model"]

_CHECK = "original"
_GREEDY = 8
"""Further tokens, the likeliest by the graphs: each has to be the original's likeliest too, or nearly."""

_CLASSES = {
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen2_5_vl": ("Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration"),
}


def transformers_model(architecture: str, config: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> Any:
    """The library's model in eval mode with these weights, attention 'eager'."""
    import transformers

    config_class, model_class = (getattr(transformers, name) for name in _CLASSES[architecture])
    given = {key: value for key, value in config.items() if key not in ("model_type", "transformers_version")}
    settings = config_class(**given)
    settings._attn_implementation = "eager"
    with torch.device("cpu"):
        model = getattr(transformers, model_class.__name__)._from_config(settings, attn_implementation="eager")
    own = model.state_dict()
    renamed = {}
    for key, value in state.items():
        new = key
        if architecture == "qwen2_5_vl":
            new = key.replace("model.", "model.language_model.", 1) if key.startswith("model.") else f"model.{key}"
            new = key if key.startswith("lm_head") else new
        renamed[new] = value
    missing = own.keys() - renamed.keys()
    unknown = renamed.keys() - own.keys()
    assert not missing and not unknown, f"transformers has other keys: {sorted(missing)[:2]}, {sorted(unknown)[:2]}"
    model.load_state_dict(renamed)
    return model.float().eval()


class _Published:
    """The published loops on every layer's attention as the original computes it, one layer's weights at a time."""

    def __init__(self, recipe: PromptRecipe, cache: Any, modality: torch.Tensor) -> None:
        self._recipe, self._cache, self._modality = recipe, cache, modality
        self.found: dict[int, Any] = {}

    @contextlib.contextmanager
    def watching(self, layers: Sequence[Any]) -> Iterator[None]:
        """While the original runs a prompt."""
        hooks = [
            layer.self_attn.register_forward_hook(functools.partial(self._seen, number))
            for number, layer in enumerate(layers)
            if self._recipe.cache_method is not None
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _seen(self, number: int, module: Any, given: Any, made: Any) -> None:
        method, weights = self._recipe.cache_method, made[1]
        assert method is not None and weights is not None, "attention 'eager' gives its weights"
        key, value = self._cache.layers[number].keys, self._cache.layers[number].values
        count = key.shape[2]
        grouped = weights.reshape(1, key.shape[1], -1, count, count)
        layer = PromptLayer(key, key, value, self._modality, torch.ones_like(self._modality))
        self.found[number] = method.published(self._recipe.reduction, layer, number, grouped)


def _decisions(found: Any, prefilled: Mapping[str, Any], number: int, padding: int, filled: int) -> list[Any]:
    """A layer's pivots and targets in the graphs beside the published ones, KV head by KV head."""
    decisions: list[DecisionDifference] = []
    heads = found.kept.pivot.shape[1]
    for head in range(heads):
        own = prefilled[f"pivot.{number}"][:, head, :filled] - padding
        reference = found.kept.pivot[:, head, :filled].numpy()
        at = number * heads + head
        decisions.append(decision_difference(f"pivot.{number}", own, reference, found.importance[:, head], image=at))
        if not decisions[-1].equal:
            continue
        targets = prefilled[f"target.{number}"][0, head, padding:]
        moved = targets != found.kept.target[0, head].numpy()
        lead = found.lead[0, head]
        far = float(lead[moved].max()) if moved.any() else None
        decisions.append(
            DecisionDifference(
                f"target.{number}", not moved.any(), 1 - float(moved.mean()), moved.size, int(moved.sum()),
                float(lead.min()), far, at,
            )
        )  # fmt: skip
    return decisions


@torch.no_grad()
def original_comparison(fixed: PromptModel, case: PromptCase, runner: PromptRunner) -> Comparison:
    """The graphs beside the original: decisions, logits of given tokens, and the greedy continuation up to a near tie.

    ``runner`` has encoded this case's prompt.
    """
    if importlib.util.find_spec("transformers") is None:
        return Comparison(_CHECK, "transformers", "graphs", (case.name,), "not-run", "transformers is not installed")
    import transformers

    recipe, facts = fixed.recipe, runner.facts
    model = transformers_model(facts.architecture, recipe.original, fixed.model.state_dict())
    prompt, count = case.prompt, case.prompt.tokens
    ids = torch.from_numpy(prompt.input_ids[:, -count:])
    positions = torch.from_numpy(prompt.position_ids[..., -count:])
    images: dict[str, Any] = {}
    if case.pixels is not None:
        grid = torch.tensor([(1, rows, columns) for rows, columns in facts.grids])
        images = {"pixel_values": torch.from_numpy(case.pixels), "image_grid_thw": grid}
        images["mm_token_type_ids"] = torch.from_numpy(prompt.modality[:, -count:]).long()
    cache = transformers.DynamicCache()
    published = _Published(recipe, cache, torch.from_numpy(prompt.modality[:, -count:]))
    with published.watching(getattr(model.model, "language_model", model.model).layers):
        told = model(
            input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1, **images
        )  # fmt: skip
    said = [told.logits[0, -1]]
    logits = [runner.rewind()]
    prefilled = dict(runner.prefilled)
    merged = transformers.DynamicCache()
    decisions: list[DecisionDifference] = []
    for number in range(facts.layers):
        key, value = cache.layers[number].keys, cache.layers[number].values
        if recipe.cache_method is not None:
            found = published.found[number]
            filled = min(count, facts.slots)
            key, value = found.kept.key[:, :, :filled], found.kept.value[:, :, :filled]
            decisions += _decisions(found, prefilled, number, facts.length - count, filled)
        merged.update(key, value, number)
    likeliest: list[bool] = []
    for step in range(min(len(case.following) + _GREEDY, facts.new_tokens)):
        greedy = step >= len(case.following)
        token = int(np.argmax(logits[-1])) if greedy else case.following[step]
        if greedy:
            best = said[-1].float().numpy()
            near = best.max() - best[token] <= FP32.atol + FP32.rtol * abs(float(best.max()))
            likeliest.append(bool(near))
        shape = (1, 1) if facts.axes == 1 else (3, 1, 1)
        position = torch.full(shape, prompt.next_position + step)
        out = model(
            input_ids=torch.tensor([[token]]), position_ids=position, past_key_values=merged, use_cache=True,
        )  # fmt: skip
        said.append(out.logits[0, -1])
        logits.append(runner.next(token))
    reference = torch.stack(said).float().numpy()
    outputs = [float_difference("logits", np.stack(logits), reference)]
    wrong = likeliest.count(False)
    outputs.append(OutputDifference("greedy tokens", wrong == 0, differing=wrong, unexplained=wrong))
    name = f"transformers {transformers.__version__}, eager"
    return judged(_CHECK, name, f"graphs in onnxruntime {runner.version}", (case.name,), outputs, decisions)
