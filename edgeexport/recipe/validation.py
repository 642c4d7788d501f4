"""From the plain data of a recipe to a `Recipe`: the one place that knows every top-level key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeexport.errors import RecipeError, nearest_hint
from edgeexport.recipe.files import file_from_config, file_from_option
from edgeexport.recipe.labels import classes_from_config, palette_from_config
from edgeexport.recipe.model_config import check_test_mode, resolved_model, segvit_from_config
from edgeexport.recipe.paths import shown_path
from edgeexport.recipe.place import Place
from edgeexport.recipe.prediction_config import (
    OUTPUTS,
    available_extra_outputs,
    extra_outputs_from_config,
    input_from_config,
    tail_from_config,
)
from edgeexport.recipe.reduction_config import reduction_from_config, side_multiple
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.values import choice, integer

__all__ = ["RECIPE_KEYS", "recipe_from_config"]

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

    model = segvit_from_config(config["model"], place.at("model"))
    multiple, rule = side_multiple(config.get("reduction"), model.backbone.patch_size)
    size = input_from_config(config["input"], place.at("input"), multiple, rule)
    check_test_mode(config["model"], place.at("model").at("test_cfg"), size)
    reduction = reduction_from_config(config.get("reduction"), place.at("reduction"), model, size, path.parent)
    output = choice(config.get("output", "class_map"), place.at("output"), OUTPUTS)
    tail = tail_from_config(config.get("tail"), place.at("tail"), model)
    available = available_extra_outputs(output, tail, reduction)
    num_classes, classes = model.decode_head.num_classes, config.get("classes")
    recipe = Recipe(
        name=path.stem,
        path=path,
        description=description,
        model=model,
        checkpoint=file_from_option(checkpoint)
        if checkpoint is not None
        else file_from_config(config.get("checkpoint"), place.at("checkpoint"), path.parent),
        seed=integer(config.get("seed", 0), place.at("seed"), minimum=0, maximum=_LARGEST_SEED),
        input=size,
        output=output,
        reduction=reduction,
        tail=tail,
        extra_outputs=extra_outputs_from_config(config.get("extra_outputs", ()), place.at("extra_outputs"), available),
        classes=classes_from_config(classes, place.at("classes"), num_classes),
        palette=palette_from_config(config.get("palette"), place.at("palette"), num_classes, classes),
        text={},
    )
    return replace(recipe, text=_resolved_text(config, recipe, checkpoint, place))


def _resolved_text(
    config: Mapping[str, object], recipe: Recipe, checkpoint: Path | None, place: Place
) -> dict[str, object]:
    """The recipe as resolved: JSON-ready but for the block numbers of ``prune``, which stay integers.

    Paths stay as they were written, relative: an absolute one would name the machine. Keys are in one fixed order.
    """
    classes = config.get("classes")
    preprocess, cts, dtop = recipe.input.preprocess, recipe.reduction.cts, recipe.reduction.dtop
    reduction: dict[str, object] = {}
    given = config.get("reduction")
    if cts is not None:
        given_cts = given.get("cts") if isinstance(given, dict) else None
        policy = given_cts.get("policy_checkpoint") if isinstance(given_cts, dict) else None
        reduction["cts"] = {
            "num_shared": cts.num_shared,
            "align_tokens": cts.align_tokens,
            "policy_checkpoint": policy,
        }
    if dtop is not None:
        reduction["dtop"] = {"prune": dict(dtop.prune), "protect_per_class": dtop.protect_per_class}
    model = config["model"]
    assert isinstance(model, dict)  # as validated
    text: dict[str, object] = {
        "model": resolved_model(model, recipe.model),
        "checkpoint": str(checkpoint) if checkpoint is not None else config.get("checkpoint"),
        "seed": recipe.seed,
        "input": {
            "shape": [recipe.input.batch, 3, recipe.input.height, recipe.input.width],
            "preprocess": None
            if preprocess is None
            else {"mean": preprocess.mean, "std": preprocess.std, "bgr_to_rgb": preprocess.bgr_to_rgb},
        },
        "output": recipe.output,
        "reduction": reduction,
        "tail": {"form": recipe.tail.form, "candidates": recipe.tail.candidates},
        "extra_outputs": recipe.extra_outputs,
        "classes": classes,
        "palette": config.get("palette", classes if isinstance(classes, str) else None),
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
