"""A language model as it is exported: its weights, and the step that shrinks each layer's cache by constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgeexport.hosts import GRAPH_LISTS
from edgeexport.hosts.graph_form import GraphForm
from edgeexport.recipe.prompt import PromptRecipe

__all__ = ["PromptModel", "prompt_model"]


@dataclass(frozen=True)
class PromptModel:
    """Attributes: ``recipe``; ``model``, in eval mode; ``steps``, one per layer, None where the cache stays whole; ``weights``,
    the manifest's entry.
    """

    recipe: PromptRecipe
    model: Any
    steps: Sequence[nn.Module] | None
    weights: dict[str, Any]

    def modules(self, steps: Sequence[nn.Module], slots: int) -> dict[str, nn.Module]:
        """The graphs' modules by name, with other steps, which leave ``slots``."""
        return {form.name: form.module for form in GRAPH_LISTS[self.recipe.type].graphs(self.model, steps, slots)}

    @property
    def forms(self) -> tuple[GraphForm, ...]:
        """The graphs to export."""
        return GRAPH_LISTS[self.recipe.type].graphs(self.model, self.steps, self.recipe.slots)


def prompt_model(recipe: PromptRecipe) -> PromptModel:
    """The model with its weights.

    Raises:
        RecipeError: The method's decisions are no constants.
        CheckpointError: Weights are missing, damaged, or do not fit.
    """
    recipe.require_fixed()
    model, weights = GRAPH_LISTS[recipe.type].model(recipe.model, recipe.folder, recipe.seed)
    method, facts = recipe.cache_method, recipe.cache_facts
    steps = None
    if method is not None:
        steps = [method.step(recipe.reduction, facts, layer) for layer in range(facts.layers)]
    return PromptModel(recipe, model, steps, weights)
