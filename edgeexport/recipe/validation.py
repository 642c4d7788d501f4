"""From the plain data of a recipe to a `Recipe`: composes a host's spec and its reductions' specs, and names none of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgeexport.config.files import file_from_config, file_from_option
from edgeexport.config.labels import classes_from_config
from edgeexport.config.paths import shown_path
from edgeexport.config.place import Place
from edgeexport.config.values import choice, integer, mapping
from edgeexport.errors import RecipeError, nearest_hint, plain_text
from edgeexport.hosts import GRAPH_LISTS, HOSTS, host_of_model
from edgeexport.hosts.input_config import input_shape
from edgeexport.recipe.decoder import DECODER_FILE, decoder_from_config, decoder_inputs
from edgeexport.recipe.labels import labels_from_config, resolved_labels
from edgeexport.recipe.outputs import extra_outputs_from_config, strings
from edgeexport.recipe.pictures import pictures_from_config
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.tokens.changes import Cut
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["MODEL_TYPES", "RECIPE_KEYS", "recipe_from_config"]

RECIPE_KEYS = (
    "checkpoint",
    "classes",
    "extra_outputs",
    "head",
    "input",
    "labels",
    "model",
    "output",
    "palette",
    "pictures",
    "reduction",
    "seed",
    "tail",
    "taps",
)
MODEL_TYPES = tuple(HOSTS)
_LARGEST_TENSOR = 2**31 - 1
_LARGEST_SEED = 2**32 - 1
_WHY_NOT_TOGETHER = "one recipe merges by one method, and merging is not defined on shared or pruned tokens"


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
    if given_model["type"] in GRAPH_LISTS:
        problem = "a language model, which is exported as several graphs: this command does not take its recipes"
        remedy = "build, lint and calibrate --flow take them"
        raise place.at("model").at("type").error(given_model["type"], problem, remedy)
    host = host_of_model(choice(given_model["type"], place.at("model").at("type"), MODEL_TYPES), given_model)
    weights = (
        file_from_option(checkpoint)
        if checkpoint is not None
        else file_from_config(config.get("checkpoint"), place.at("checkpoint"), path.parent)
    )
    model = host.spec_of_checkpoint(given_model, place.at("model"), weights)
    asked = _asked_reductions(config.get("reduction"), place.at("reduction"))
    size = host.input_from_config(config["input"], place.at("input"), model, _sides(host.patch_size(model), asked))
    if math.prod(size.shape) > _LARGEST_TENSOR:
        problem = f"the input has {math.prod(size.shape)} values, the runtimes' tensors at most {_LARGEST_TENSOR}"
        raise place.at("input").at("shape").error(list(size.shape), problem, "use a smaller batch or size")
    host.check(config, place, model, size)
    model = host.sized(model, size)
    model = host.tapped(model, config.get("taps"), place.at("taps"))
    offered = host.available_outputs(model)
    reads = decoder_inputs(config.get("head"), place.at("head"))
    output = choice(config.get("output", reads[0] if reads else offered[0]), place.at("output"), reads or offered)
    model = host.giving(model, (output, *reads, *strings(config.get("extra_outputs"))))
    decoder = decoder_from_config(
        config.get("head"), place.at("head"), path.parent, host.feature_shapes(model, size), offered
    )
    facts = host.facts(model, size)
    reductions, extra = _reductions(asked, place.at("reduction"), facts, path.parent)
    tail = host.tail_from_config(config.get("tail"), place.at("tail"), model)
    palette, resolved_palette = host.palette_from_config(config, place, model)
    available = (*((output,) if reads else ()), *host.extra_outputs(model, output, tail), *extra)
    asked_outputs = extra_outputs_from_config(config.get("extra_outputs", ()), place.at("extra_outputs"), available)
    recipe = Recipe(
        name=plain_text(path.stem),
        path=path,
        description=description,
        model=model,
        checkpoint=weights,
        seed=integer(config.get("seed", 0), place.at("seed"), minimum=0, maximum=_LARGEST_SEED),
        input=size,
        output=output,
        reductions=reductions,
        tail=tail,
        extra_outputs=asked_outputs if reads else _with(host.always_given(model), output, asked_outputs),
        classes=classes_from_config(config.get("classes"), place.at("classes"), facts.num_classes),
        palette=palette,
        text={},
        warnings=host.warnings(model, size),
        decoder=decoder,
        labels=labels_from_config(config.get("labels"), place.at("labels")),
        pictures=pictures_from_config(config.get("pictures"), place.at("pictures"), path.parent),
    )
    resolved = {key: REDUCTIONS[key].resolved(asked[key], spec) for key, spec in reductions.items()}
    entries = {
        "model": host.resolved(given_model, model),
        "reduction": resolved,
        "tail": None if tail.form == "none" else {"form": tail.form, "candidates": tail.candidates},
        "palette": resolved_palette,
    }
    return replace(recipe, text=_resolved_text(config, recipe, entries, checkpoint, place))


def _with(always: Sequence[str], output: str, asked: Sequence[str]) -> tuple[str, ...]:
    """What comes with the prediction anyway, then what is asked for."""
    return tuple(name for name in dict.fromkeys((*always, *asked)) if name != output)


def _asked_reductions(value: object, place: Place) -> dict[str, Any]:
    """The entries that are given, by key, in the order in which methods act.

    Raises:
        RecipeError: An unknown method, or two that exclude each other.
    """
    config = mapping({} if value is None else value, place, tuple(REDUCTIONS))
    asked = [key for key in REDUCTIONS if config.get(key) is not None]
    for position, later in enumerate(asked):
        for earlier in asked[:position]:
            if earlier not in REDUCTIONS[later].follows:
                raise place.error(
                    config,
                    f"{later} and {earlier} cannot be combined: {_WHY_NOT_TOGETHER}",
                    f"leave {later} or {earlier} out (in a recipe with a base: reduction=dict(_delete_=True, ...))",
                )
    return {key: config[key] for key in asked}


def _sides(patch_size: int, asked: Mapping[str, object]) -> tuple[int, str]:
    """What both sides of the input must be multiples of, and why: the largest that anything asks for."""
    rules = [rule for key in asked if (rule := REDUCTIONS[key].sides(patch_size)) is not None]
    return max([(patch_size, f"the patch size {patch_size}"), *rules], key=lambda rule: rule[0])


def _reductions(
    asked: Mapping[str, Any], place: Place, facts: HostFacts, folder: Path
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The methods' specs, each on the tokens that those before it leave; and the outputs on offer.

    Raises:
        RecipeError: The host cannot do it, or a count does not fit.
    """
    specs: dict[str, Any] = {}
    extra: list[str] = []
    tokens = facts.num_tokens
    for key, value in asked.items():
        method, at = REDUCTIONS[key], place.at(key)
        if reason := method.refuses(facts):
            takes = [name for name, other in REDUCTIONS.items() if not other.refuses(facts)]
            listed = f"{', '.join(takes[:-1])} or {takes[-1]}" if len(takes) > 1 else takes[0]
            raise at.error(value, f"unsupported: {reason}; {facts.title} takes {listed}", "leave it out")
        spec = method.spec_from_config(value, at, facts, tokens, folder)
        if spec is None:
            continue
        specs[key] = spec
        changes = method.changes(spec, facts, tokens, at)
        extra += method.extra_outputs(spec, facts, changes)
        tokens = next((change.tokens_out for change in changes if change.cut is Cut.EMBEDDING), tokens)
    return specs, tuple(extra)


def _resolved_text(
    config: Mapping[str, object], recipe: Recipe, entries: Mapping[str, object], checkpoint: Path | None, place: Place
) -> dict[str, object]:
    """The recipe as resolved: JSON-ready but for the block numbers of ``prune``, which stay integers.

    Paths stay as they were written, relative: an absolute one would name the machine. Keys are in one fixed order.
    """
    preprocess = recipe.input.preprocess
    text: dict[str, object] = {
        "model": entries["model"],
        "checkpoint": str(checkpoint) if checkpoint is not None else config.get("checkpoint"),
        "seed": recipe.seed,
        "input": {
            "shape": input_shape(recipe.input),
            "preprocess": None
            if preprocess is None
            else {"mean": preprocess.mean, "std": preprocess.std, "bgr_to_rgb": preprocess.bgr_to_rgb},
            **({} if recipe.input.crop is None else {"crop": asdict(recipe.input.crop)}),
        },
        "output": recipe.output,
        **({"taps": config["taps"]} if config.get("taps") else {}),
        **({} if recipe.decoder is None else {"head": {"onnx": DECODER_FILE, "input": recipe.decoder.reads}}),
        "reduction": entries["reduction"],
        "tail": entries["tail"],
        "extra_outputs": recipe.extra_outputs,
        **({"labels": said} if (said := resolved_labels(recipe.labels)) else {}),
        "classes": config.get("classes"),
        "palette": entries["palette"],
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
