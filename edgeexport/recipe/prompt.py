"""Recipes of families that are exported as several graphs: a model, the places of its prompt, a method for its cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.config.inheritance import recipe_file
from edgeexport.config.lookup import docstring_line, recipe_path
from edgeexport.config.options import config_with_options
from edgeexport.config.paths import shown_path
from edgeexport.config.place import Place
from edgeexport.config.reading import config_from_file
from edgeexport.config.values import integer, mapping, string
from edgeexport.errors import RecipeError, nearest_hint, plain_text
from edgeexport.hosts import GRAPH_LISTS
from edgeexport.inputs.prompt_facts import PromptFacts
from edgeexport.recipe.named import family_of_name
from edgeexport.reductions import CACHE_REDUCTIONS
from edgeexport.reductions.cache_reduction import CacheReduction
from edgeexport.tokens.cache import CacheFacts

__all__ = ["PROMPT_RECIPE_KEYS", "PromptRecipe", "prompt_recipe", "prompt_recipe_from_config"]

PROMPT_RECIPE_KEYS = ("chat_template", "input", "model", "reduction", "seed", "tokenizer")


@dataclass(frozen=True)
class PromptRecipe:
    """A validated recipe.

    Attributes:
        name, path, description: As of `edgeexport.recipe.schema.Recipe`.
        type: Of its model, a key of `GRAPH_LISTS`.
        model: Its host's spec.
        folder: Of weights, tokenizer and chat template; None: weights drawn from ``seed``.
        seed: See above.
        method: Key of the method that shrinks the cache; None: it stays whole.
        reduction: The method's spec.
        original: The Hugging Face config.
        chat_template: Jinja, in place of the folder's; None: the folder's.
        tokenizer: tokenizer.json in place of the folder's; None: the folder's.
        text: As resolved, JSON-ready, for the manifest.
    """

    name: str
    path: Path
    description: str
    type: str
    model: Any
    folder: Path | None
    seed: int
    method: str | None
    reduction: Any
    original: Mapping[str, Any]
    chat_template: str | None
    tokenizer: Path | None
    text: dict[str, object]

    @property
    def cache_facts(self) -> CacheFacts:
        """What the method may know."""
        return GRAPH_LISTS[self.type].cache_facts(self.model)

    @property
    def cache_method(self) -> CacheReduction | None:
        """What shrinks the cache."""
        return None if self.method is None else CACHE_REDUCTIONS[self.method]

    @property
    def slots(self) -> int | None:
        """Slots that the method leaves; None: all."""
        return None if self.cache_method is None else self.cache_method.slots(self.reduction)

    @property
    def prompt_facts(self) -> PromptFacts:
        """For a manifest."""
        flow = () if self.cache_method is None else self.cache_method.flow(self.reduction)
        return GRAPH_LISTS[self.type].prompt_facts(self.model, self.slots, self.original, flow)

    @property
    def scopes(self) -> Mapping[str, str]:
        """Path of a module in a graph, its numbers as '#' -> part of the model."""
        return GRAPH_LISTS[self.type].scopes

    def require_fixed(self) -> None:
        """Refuses a method whose decisions are no constants.

        Raises:
            RecipeError: See above.
        """
        if self.cache_method is not None and (why := self.cache_method.why_not_fixed(self.reduction)):
            remedy = "give flow=[...] per layer and protect=...; `edgeexport calibrate RECIPE --data DIR --flow` proposes both"
            raise RecipeError(f"{shown_path(self.path)}: reduction.{self.method}", why, remedy)


def prompt_recipe(name_or_path: str | Path, cfg_options: Sequence[str] = ()) -> PromptRecipe | None:
    """Loads a recipe, if its model is of one of these families; None for others, which `load_recipe` is for.

    Raises:
        RecipeError, CheckpointError: As `load_recipe` raises them.
    """
    if family_of_name(name_or_path) is not None:
        return None
    file = recipe_file(recipe_path(name_or_path))
    config = config_with_options(config_from_file(file, PROMPT_RECIPE_KEYS), cfg_options)
    model = config.get("model")
    if not isinstance(model, Mapping) or model.get("type") not in GRAPH_LISTS:
        return None
    return prompt_recipe_from_config(config, file.path, docstring_line(file.tree))


def prompt_recipe_from_config(config: Mapping[str, Any], path: Path, description: str = "") -> PromptRecipe:
    """Validates everything that a recipe says.

    Raises:
        RecipeError: Anything unknown, missing, of the wrong type or range.
        CheckpointError: A folder or file that it names is missing.
    """
    place = Place(shown_path(path))
    for key in config:
        if key not in PROMPT_RECIPE_KEYS:
            hint = nearest_hint(key, PROMPT_RECIPE_KEYS)
            raise place.at(key).error(config[key], f"unknown key {key!r} of a language model's recipe", hint)
    if "input" not in config:
        raise place.missing("input", "input=dict(prompt=256, new_tokens=64)")
    host, base = GRAPH_LISTS[config["model"]["type"]], path.parent
    model = host.spec_from_config(config, place, base)
    at = place.at("reduction")
    asked = mapping(config.get("reduction") or {}, at, tuple(CACHE_REDUCTIONS))
    given = [key for key in CACHE_REDUCTIONS if asked.get(key) is not None]
    method = given[0] if given else None
    reduction = None
    if method is not None:
        reduction = CACHE_REDUCTIONS[method].spec_from_config(asked[method], at.at(method), host.cache_facts(model))
    template, tokenizer = config.get("chat_template"), config.get("tokenizer")
    file = None if tokenizer is None else base / string(tokenizer, place.at("tokenizer"))
    if file is not None and not file.is_file():
        raise place.at("tokenizer").error(tokenizer, "no such file", "give a tokenizer.json")
    seed = integer(config.get("seed", 0), place.at("seed"), 0, 2**32 - 1)
    resolved = {} if method is None else {method: CACHE_REDUCTIONS[method].resolved(reduction)}
    text = {
        "model": _plain(config["model"]),
        "input": _plain(config["input"]),
        "reduction": resolved,
        "seed": seed,
    }
    return PromptRecipe(
        name=plain_text(path.stem),
        path=path,
        description=description,
        type=str(config["model"]["type"]),
        model=model,
        folder=host.folder(config, place, base),
        seed=seed,
        method=method,
        reduction=reduction,
        original=host.original_config(config, place, base),
        chat_template=None if template is None else string(template, place.at("chat_template")),
        tokenizer=file,
        text=text,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
