"""From the plain data of a recipe to a `Recipe`: the one place that knows every top-level key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edgeexport.config.files import file_from_config, file_from_option
from edgeexport.config.labels import classes_from_config
from edgeexport.config.paths import shown_path
from edgeexport.config.place import Place
from edgeexport.config.values import choice, integer
from edgeexport.errors import RecipeError, nearest_hint
from edgeexport.hosts.host import RecipeParts
from edgeexport.hosts.host_input_config import input_shape
from edgeexport.hosts.input_config import extra_outputs_from_config
from edgeexport.hosts.sd_block.host import sd_block_parts
from edgeexport.hosts.segvit.host import segvit_parts
from edgeexport.hosts.timm_vit.host import timm_parts
from edgeexport.recipe.schema import Recipe

__all__ = ["MODEL_TYPES", "RECIPE_KEYS", "recipe_from_config"]

RECIPE_KEYS = (
    "checkpoint",
    "classes",
    "extra_outputs",
    "input",
    "model",
    "output",
    "palette",
    "reduction",
    "seed",
    "tail",
)
# ``model['type']`` -> what validates the keys that depend on the model.
_PARTS: dict[str, Callable[[Mapping[str, object], Place, Path], RecipeParts]] = {
    "EncoderDecoderPrune": segvit_parts,
    "EncoderDecoder": segvit_parts,
    "timm": timm_parts,
    "sd_block": sd_block_parts,
}
MODEL_TYPES = tuple(_PARTS)
_LARGEST_SEED = 2**32 - 1


def recipe_from_config(
    config: Mapping[str, object], path: Path, description: str = "", checkpoint: Path | None = None
) -> Recipe:
    """Validates everything that a recipe says, and fills in defaults.

    Args:
        config: Plain data: bases merged, options applied.
        path: The recipe's file, absolute; files that it names are relative to its folder.
        description: One line about it.
        checkpoint: The command line's checkpoint, relative to the current folder; overrides the recipe's.

    Raises:
        RecipeError: Anything unknown, missing, of the wrong type or range, or impossible together.
        CheckpointError: A file that it names is missing.
    """
    place = Place(shown_path(path))
    for key in config:
        if key not in RECIPE_KEYS:
            hint = nearest_hint(key, RECIPE_KEYS)
            remedy = f"{hint}; start a helper variable's name with an underscore"
            raise place.at(key).error(config[key], f"unknown key {key!r}", remedy)
    for key, example in (("model", "model=dict(...)"), ("input", "input=dict(shape=(1, 3, 512, 512))")):
        if key not in config:
            raise place.missing(key, example)

    given_model = config["model"]
    if not isinstance(given_model, dict) or "type" not in given_model:
        listed = " or ".join(f"type='{name}'" for name in MODEL_TYPES)
        raise place.at("model").missing("type", listed)
    parts = _PARTS[choice(given_model["type"], place.at("model").at("type"), MODEL_TYPES)](config, place, path.parent)
    recipe = Recipe(
        name=path.stem,
        path=path,
        description=description,
        model=parts.model,
        checkpoint=file_from_option(checkpoint)
        if checkpoint is not None
        else file_from_config(config.get("checkpoint"), place.at("checkpoint"), path.parent),
        seed=integer(config.get("seed", 0), place.at("seed"), minimum=0, maximum=_LARGEST_SEED),
        input=parts.input,
        output=parts.output,
        reduction=parts.reduction,
        tail=parts.tail,
        extra_outputs=extra_outputs_from_config(
            config.get("extra_outputs", ()), place.at("extra_outputs"), parts.extra_outputs
        ),
        classes=classes_from_config(config.get("classes"), place.at("classes"), parts.num_classes),
        palette=parts.palette,
        text={},
    )
    return replace(recipe, text=_resolved_text(config, recipe, parts, checkpoint, place))


def _resolved_text(
    config: Mapping[str, object], recipe: Recipe, parts: RecipeParts, checkpoint: Path | None, place: Place
) -> dict[str, object]:
    """The recipe as resolved: JSON-ready but for the block numbers of ``prune``, which stay integers.

    Paths stay as they were written, relative: an absolute one would name the machine. Keys are in one fixed order.
    """
    preprocess = recipe.input.preprocess
    text: dict[str, object] = {
        "model": parts.text["model"],
        "checkpoint": str(checkpoint) if checkpoint is not None else config.get("checkpoint"),
        "seed": recipe.seed,
        "input": {
            "shape": input_shape(recipe.input),
            "preprocess": None
            if preprocess is None
            else {"mean": preprocess.mean, "std": preprocess.std, "bgr_to_rgb": preprocess.bgr_to_rgb},
        },
        "output": recipe.output,
        "reduction": parts.text["reduction"],
        "tail": parts.text["tail"],
        "extra_outputs": recipe.extra_outputs,
        "classes": config.get("classes"),
        "palette": parts.text["palette"],
    }
    return {key: _json_ready(value, place.at(key)) for key, value in text.items()}


def _json_ready(value: object, place: Place) -> object:
    """Lists for tuples; everything else must be plain data already, ignored training keys included."""
    if isinstance(value, dict):
        return {_plain_key(key, place): _json_ready(entry, place.at(key)) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(entry, place.at(position)) for position, entry in enumerate(value)]
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise place.error(value, f"a recipe holds plain values, found a {type(value).__name__}", "write a literal")


def _plain_key(key: object, place: Place) -> str | int:
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise RecipeError(str(place), f"a key is a string or an integer, found {key!r}", "")
    return key
