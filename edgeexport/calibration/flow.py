"""FlowMM's constants from prompts and images: rho per layer, and which layers may merge across modalities.

Source: FlowMM (arXiv 2511.05534), equations 6 and 7 and figure 3. Every sample is a prompt with as many photographs as the
recipe has room for; a layer crosses if its mean rho over samples is above theta, and protects as many pivots per KV head as the
median sample has above tau.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeexport.config.paths import shown_path
from edgeexport.errors import RecipeError, UsageError
from edgeexport.fixed.prompt_model import PromptModel
from edgeexport.hosts import GRAPH_LISTS
from edgeexport.inputs.photos import open_photo, photos_in_folder
from edgeexport.inputs.prompt import image_patches, laid_out_prompt
from edgeexport.inputs.prompt_facts import PromptFacts
from edgeexport.inputs.tokenizer import TextTokens, chat_text, with_visual_tokens
from edgeexport.recipe.prompt import PromptRecipe
from edgeexport.tokens.cache import KeptCache, PromptLayer
from edgeexport.verify.prompts import PromptCase, TorchPrompt

__all__ = ["FlowCalibration", "LayerFlow", "calibrate_flow"]

_PROMPTS = "prompts.txt"


@dataclass(frozen=True)
class LayerFlow:
    """One layer: rho over samples, whether it may cross, samples that would have chosen otherwise, pivots to protect per KV
    head.
    """

    layer: int
    mean: float
    deviation: float
    lowest: float
    highest: float
    cross: bool
    otherwise: int
    protect: tuple[int, ...]


@dataclass(frozen=True)
class FlowCalibration:
    """``text`` says where the prompts' text is from; ``weights`` where the weights are."""

    recipe: str
    theta: float
    tau: float
    samples: int
    text: str
    weights: str
    layers: tuple[LayerFlow, ...]

    @property
    def flow(self) -> list[bool]:
        """For a recipe."""
        return [layer.cross for layer in self.layers]

    @property
    def protect(self) -> list[list[int]]:
        """For a recipe."""
        return [list(layer.protect) for layer in self.layers]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        told = {**self.__dict__, "layers": [dict(layer.__dict__) for layer in self.layers]}
        return {**told, "flow": self.flow, "protect": self.protect}


class _Looked(nn.Module):
    """The published form with theta and tau; remembers rho and how many pivots are above tau in each KV head."""

    def __init__(self, recipe: PromptRecipe, number: int) -> None:
        super().__init__()
        self.recipe, self.number = recipe, number
        self.rho, self.above = 0.0, np.zeros(0, np.int64)

    def forward(self, layer: PromptLayer) -> KeptCache:
        method = self.recipe.cache_method
        assert method is not None
        found = method.published(self.recipe.reduction, layer, self.number)
        self.rho = float(found.rho[0])
        pivots, importance = found.kept.pivot[0].numpy(), found.importance[0]
        tau = self.recipe.reduction.tau
        self.above = np.array([int((own[p[p >= 0]] > tau).sum()) for own, p in zip(importance, pivots, strict=True)])
        return found.kept


def calibrate_flow(
    recipe: PromptRecipe,
    data: Path | None,
    limit: int | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> FlowCalibration:
    """Looks at every photograph of a folder, with a line of its prompts.txt, or with text drawn at random where it has none.

    Raises:
        RecipeError: The recipe gives no theta and tau.
        UsageError: No folder of images.
    """
    spec = recipe.reduction
    if getattr(spec, "theta", None) is None or getattr(spec, "tau", None) is None:
        remedy = "reduction=dict(flowmm=dict(budget=..., theta=0.3, tau=0.5))"
        raise RecipeError(
            shown_path(recipe.path), "gives no theta and tau, by which layers and pivots are chosen", remedy
        )
    if data is None:
        raise UsageError("--data", "is missing", "give a folder of images, with a prompts.txt if you have prompts")
    facts = recipe.prompt_facts
    photos = photos_in_folder(data)[:limit]
    lines = _lines(data / _PROMPTS)
    on_stage("load weights")
    model, weights = GRAPH_LISTS[recipe.type].model(recipe.model, recipe.folder, recipe.seed)
    fixed = PromptModel(recipe, model, None, weights)
    rho, above = [], []
    for number, photo in enumerate(photos):
        on_stage(f"{number + 1} of {len(photos)}: {photo.name}")
        own = [photos[(number + n) % len(photos)] for n in range(len(facts.grids))]
        case = _case(recipe, facts, own, lines[number % len(lines)] if lines else None, number)
        steps = [_Looked(recipe, layer) for layer in range(facts.layers)]
        with torch.no_grad():
            TorchPrompt(fixed, case, steps, facts.slots)
        rho.append([step.rho for step in steps])
        above.append([step.above for step in steps])
    told = f"{len(lines)} lines of {_PROMPTS}" if lines else "drawn at random: rho of real prompts may differ"
    layers = _layers(np.array(rho), np.array(above), spec.theta)
    return FlowCalibration(recipe.name, spec.theta, spec.tau, len(photos), told, str(weights["statement"]), layers)


def _layers(rho: np.ndarray, above: np.ndarray, theta: float) -> tuple[LayerFlow, ...]:
    """Of rho (samples, layers) and pivots above tau (samples, layers, KV heads)."""
    found = []
    for layer in range(rho.shape[1]):
        own = rho[:, layer]
        cross = bool(own.mean() > theta)
        protect = tuple(int(np.median(above[:, layer, head])) for head in range(above.shape[2]))
        found.append(
            LayerFlow(
                layer, float(own.mean()), float(own.std()), float(own.min()), float(own.max()), cross,
                int(((own > theta) != cross).sum()), protect,
            )
        )  # fmt: skip
    return tuple(found)


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        return []
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(str(file), f"cannot be read ({error})", "write one prompt a line, UTF-8") from None


def _case(recipe: PromptRecipe, facts: PromptFacts, photos: Sequence[Path], line: str | None, seed: int) -> PromptCase:
    if line is None:
        rng = np.random.default_rng(seed)
        usable = [token for token in range(min(facts.vocabulary, 4096)) if token != facts.image_token]
        words = rng.choice(usable, max(facts.length - sum(facts.visual_tokens), 1)).tolist()
        ids = with_visual_tokens(words, facts.image_token, facts.visual_tokens)
    else:
        file = recipe.tokenizer or (recipe.folder / "tokenizer.json" if recipe.folder is not None else None)
        text = TextTokens(file, facts.vocabulary)
        asked = chat_text(recipe.chat_template, line, len(photos))
        ids = with_visual_tokens(text.ids(asked), facts.image_token, facts.visual_tokens)
    prompt = laid_out_prompt(
        ids, facts.length, image_token=facts.image_token, grids=facts.grids, merge=facts.merge, axes=facts.axes
    )
    parts = [
        image_patches(open_photo(photo), grid, facts.patch, facts.frames, facts.merge)
        for photo, grid in zip(photos, facts.grids, strict=True)
    ]
    return PromptCase(f"sample {seed}", prompt, np.concatenate(parts) if parts else None, ())
