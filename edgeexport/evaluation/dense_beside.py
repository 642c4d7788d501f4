"""A recipe's fixed form and its dense one in torch, for `edgeexport.evaluation.against`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from edgeexport.errors import UsageError
from edgeexport.evaluation.against import Beside, RunnableForm
from edgeexport.evaluation.fidelity import TokenLayout
from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.tokens import tokens_json
from edgeexport.fixed.weights import WeightsOrigin
from edgeexport.recipe.schema import Recipe

__all__ = ["DENSE", "Remembered", "beside_dense", "check_reduced", "digest_of", "form_beside_dense", "layout_of"]

DENSE = "dense"


class _InTorch:
    """A fixed form as a `RunnableForm`."""

    def __init__(self, model: FixedModel) -> None:
        self.model = model

    def run(self, image: NDArray) -> dict[str, NDArray]:
        """See `RunnableForm`."""
        with torch.no_grad():
            outputs = self.model.trace(torch.from_numpy(image)).outputs
        return {name: value.numpy() for name, value in outputs.items()}


class Remembered:
    """A form that runs every batch once, for comparing many others with it.

    Args:
        form: What runs.
        found: Where outputs are kept, by the batch's bytes.
    """

    def __init__(self, form: RunnableForm, found: dict[bytes, dict[str, NDArray]]) -> None:
        self._form, self._found = form, found

    def run(self, image: NDArray) -> dict[str, NDArray]:
        """See `RunnableForm`."""
        key = image.tobytes()
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._form.run(image)
        return found


def beside_dense(recipe: Recipe, model: nn.Module, origin: WeightsOrigin) -> Beside:
    """A recipe's fixed form beside its dense one, in torch.

    Args:
        recipe: With a reduction.
        model, origin: What `model_from_recipe` gave for it, or for another recipe of the same model.

    Raises:
        UsageError: It has no reduction.
    """
    check_reduced(recipe)
    return form_beside_dense(recipe, model, origin)


def form_beside_dense(recipe: Recipe, model: nn.Module, origin: WeightsOrigin) -> Beside:
    """The same of any recipe, also of one that is its own dense model."""
    reduced, dense = (fixed_from_model(model, form) for form in (recipe, dense_recipe(recipe)))
    tokens: Mapping[str, Any] = tokens_json(recipe)
    weights, text = origin.as_dict(), {key: value for key, value in recipe.text.items() if key != "checkpoint"}
    return Beside(
        name=recipe.name,
        kind="recipe",
        recipe=recipe.name,
        weights=weights,
        against=DENSE,
        runtime=f"torch {torch.__version__}",
        macs=tokens["totals"]["macs"],
        against_macs=tokens["totals"]["dense_macs"],
        input=recipe.input,
        layout=layout_of(tokens),
        classes=recipe.classes,
        num_classes=recipe.facts.num_classes if "logits" in reduced.output_names else 0,
        sha256=digest_of(weights, text, recipe.decoder and recipe.decoder.sha256),
        reduced=_InTorch(reduced),
        other=_InTorch(dense),
    )


def check_reduced(recipe: Recipe) -> None:
    """Raises: UsageError: It has no reduction."""
    if not recipe.reductions:
        remedy = "give it a reduction, such as --tome 8, or give --against the folder of another bundle"
        raise UsageError(recipe.name, "has no reduction: it is its own dense model", remedy)


def layout_of(tokens: Mapping[str, Any]) -> TokenLayout:
    """From tokens.json."""
    class_token = bool(tokens.get("class_token", False))
    return TokenLayout(int(tokens.get("num_prefix", class_token)), class_token)


def digest_of(*facts: object) -> str:
    """Hex sha256 over plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
