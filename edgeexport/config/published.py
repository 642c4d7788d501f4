"""A config of mmsegmentation, as published, read as a recipe: ``input``, ``classes``, ``labels`` follow from what it says.

Data sets, pipelines, schedules, hooks and loops are read where they say something of the model's input or labels, and are
ignored otherwise. What only edgeexport has (``reduction``, ``tail``, ...) is added by options or by a recipe with ``_base_``.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.config.data_sets import facts_of_data_set
from edgeexport.config.options import config_with_options
from edgeexport.config.pipelines import data_set_config, input_size, keeps_ratio, normalisation, states_reduced_zero
from edgeexport.config.place import Place, shown_value
from edgeexport.config.values import pair
from edgeexport.errors import RecipeError, nearest_hint

__all__ = ["PublishedConfig", "is_published", "recipe_of_published"]

_MARKS = frozenset(
    (
        "auto_scale_lr",
        "checkpoint_config",
        "crop_size",
        "cudnn_benchmark",
        "custom_hooks",
        "custom_imports",
        "data",
        "data_preprocessor",
        "data_root",
        "dataset_type",
        "default_hooks",
        "default_scope",
        "dist_params",
        "env_cfg",
        "evaluation",
        "img_norm_cfg",
        "launcher",
        "load_from",
        "log_config",
        "log_level",
        "log_processor",
        "lr_config",
        "optim_wrapper",
        "optimizer",
        "optimizer_config",
        "param_scheduler",
        "randomness",
        "resume",
        "runner",
        "test_cfg",
        "test_dataloader",
        "test_evaluator",
        "test_pipeline",
        "train_cfg",
        "train_dataloader",
        "train_pipeline",
        "tta_model",
        "tta_pipeline",
        "val_cfg",
        "val_dataloader",
        "val_evaluator",
        "vis_backends",
        "visualizer",
        "workflow",
    )
)
"""Top-level keys of OpenMMLab's configs, and variables that all of them use."""
_SCOPE = "mmseg."
_REMOTE = ("http://", "https://", "s3://", "open-mmlab://", "openmmlab://", "torchvision://", "mmcls://", "petrel://")
_SIMILAR = 0.8  # of 'reductions' to 'reduction'; 'num_classes' to 'classes' is below
_RGB = 3


@dataclass(frozen=True)
class PublishedConfig:
    """``config``: plain data of a recipe, options applied. ``notes``: what the reader should know of how it was read."""

    config: dict[str, object]
    notes: tuple[str, ...]


def is_published(config: Mapping[str, object]) -> bool:
    """Whether plain data is a config of OpenMMLab's, or a recipe with such a base: whether any of their own keys is there."""
    model = config.get("model")
    return bool(_MARKS & config.keys()) or (isinstance(model, Mapping) and "data_preprocessor" in model)


def recipe_of_published(
    config: Mapping[str, object], place: Place, keys: Collection[str], cfg_options: Sequence[str] = ()
) -> PublishedConfig:
    """Reads a config of mmsegmentation as a recipe.

    Options about the config's own keys (``model``, ``crop_size``, ...) come first, so that what follows from them does; then
    those about a recipe's keys replace what was read.

    Args:
        config: Plain data, bases merged.
        place: Its file, for messages.
        keys: Of a recipe.
        cfg_options: ``key=value`` strings, see `config_with_options`.

    Raises:
        RecipeError: An option or a key that is none, a model that is none, or images in BGR.
    """
    own = frozenset(keys) - {"model"}
    early, late = _sorted_options(config, own, cfg_options, place)
    config = config_with_options(config, early)
    _refuse_misspelt(config, own, place)
    model = _model(config, place)
    config = {**config, "model": model}
    recipe = {key: value for key, value in config.items() if key in keys}
    if _is_pretraining(config.get("checkpoint"), model):
        del recipe["checkpoint"]
    notes: list[str] = []
    recipe["input"] = _input(config, place)
    facts = facts_of_data_set(data_set_config(config))
    if "classes" not in recipe and facts.name:
        notes += _named(recipe, facts.classes, facts.palette, facts.name, facts.known, model)
    reduced = states_reduced_zero(config)
    labels = {
        "reduce_zero_label": facts.reduce_zero_label if reduced is None else reduced,
        "image_suffix": facts.image_suffix,
        "label_suffix": facts.label_suffix,
    }
    given = config.get("labels")
    stated = {key: value for key, value in labels.items() if value is not None}
    if stated and (given is None or isinstance(given, Mapping)):
        recipe["labels"] = {**stated, **(given or {})}
    return PublishedConfig(config_with_options(recipe, late), tuple(notes))


def _sorted_options(
    config: Mapping[str, object], own: Collection[str], cfg_options: Sequence[str], place: Place
) -> tuple[list[str], list[str]]:
    """Options about the config as published, and those about what a recipe adds."""
    early, late = [], []
    for option in cfg_options:
        root = option.partition("=")[0].split(".")[0].strip()
        if root in own:
            late.append(option)
        elif root == "model" or root in config or not root or root.startswith("_") or "=" not in option:
            early.append(option)
        else:
            hint = nearest_hint(root, {*own, "model", *config})
            raise place.at(root).error(option.partition("=")[2], f"unknown key {root!r}", hint)
    return early, late


def _refuse_misspelt(config: Mapping[str, object], own: Collection[str], place: Place) -> None:
    """A config may hold any variable, but one that is nearly a recipe's key was meant as that."""
    meant = set(own) - {"checkpoint", "classes", "head", "input", "labels", "output", "seed"}
    for key in config:
        if key not in own and key not in _MARKS and difflib.get_close_matches(key, meant, 1, _SIMILAR):
            raise place.at(key).error(config[key], f"unknown key {key!r}", nearest_hint(key, meant))


def _model(config: Mapping[str, object], place: Place) -> dict[str, Any]:
    """``model``, with types as they are without their scope, and ``test_cfg`` where 0.x has it.

    Raises:
        RecipeError: It is missing, or no dict with a type's name: made by a function or of classes.
    """
    if "model" not in config:
        problem = "has keys of OpenMMLab's configs, but no model"
        raise RecipeError(
            str(place), problem, "expected model=dict(type='EncoderDecoder', ...), as in mmsegmentation's configs"
        )
    model, at = config["model"], place.at("model")
    if not isinstance(model, Mapping):
        what = "a function" if callable(model) else f"a {type(model).__name__}"
        problem = f"expected a dict that describes the model, found {what}: a model that code builds is not read"
        raise at.error(
            model, problem, "write model=dict(type='EncoderDecoder', backbone=dict(...), decode_head=dict(...))"
        )
    kind = model.get("type")
    if kind is not None and not isinstance(kind, str):
        problem = f"expected a type's name, found {shown_value(kind)}: a model of classes or functions is not read"
        raise at.at("type").error(kind, problem, "write type='EncoderDecoder', as mmsegmentation's configs of text do")
    result = _without_scope(model)
    assert isinstance(result, dict)
    outer = config.get("test_cfg")
    if "test_cfg" not in result and isinstance(outer, Mapping) and "mode" in outer:
        result["test_cfg"] = dict(outer)
    return result


def _without_scope(value: object) -> object:
    """'mmseg.EncoderDecoder' is 'EncoderDecoder'."""
    if isinstance(value, Mapping):
        plain = {key: _without_scope(entry) for key, entry in value.items() if key != "_scope_"}
        if isinstance(plain.get("type"), str):
            plain["type"] = str(plain["type"]).removeprefix(_SCOPE)
        return plain
    if isinstance(value, list):
        return [_without_scope(entry) for entry in value]
    return tuple(_without_scope(entry) for entry in value) if type(value) is tuple else value


def _is_pretraining(checkpoint: object, model: Mapping[str, Any]) -> bool:
    """Published configs call the backbone's weights ``checkpoint``, those that training begins with."""
    if not isinstance(checkpoint, str):
        return checkpoint is not None
    return checkpoint.startswith(_REMOTE) or checkpoint in _weights_at_start(model)


def _weights_at_start(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield value.get("pretrained")
        start = value.get("init_cfg")
        if isinstance(start, Mapping):
            yield start.get("checkpoint")
        for entry in value.values():
            yield from _weights_at_start(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _weights_at_start(entry)


def _input(config: Mapping[str, Any], place: Place) -> object:
    """``input``: what the recipe gives, the rest as the config says."""
    given = config.get("input")
    if given is not None and not isinstance(given, Mapping):
        return given  # refused by validation
    derived: dict[str, object] = {}
    size, path = input_size(config)
    if size is not None and "shape" not in (given or {}):
        height, width = pair(size, Place(place.file, path))
        derived["shape"] = (1, _RGB, height, width)
    if "preprocess" not in (given or {}):
        derived["preprocess"] = normalisation(config, place)
    if keeps_ratio(config):
        derived["crop"] = {"mode": "pad", "interpolation": "bilinear"}
    return {**derived, **(given or {})}


def _named(
    recipe: dict[str, object],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    name: str,
    known: bool,
    model: Mapping[str, Any],
) -> list[str]:
    """Adds the data set's names and colours where they are as many as the model's classes; else says why not."""
    head = model.get("decode_head")
    head = head[-1] if isinstance(head, (list, tuple)) and head else head
    count = head.get("num_classes") if isinstance(head, Mapping) else None
    if not classes:
        what = "lists no classes" if known else "is no data set of mmsegmentation, and states no metainfo"
        return [f"classes have no names: {name} {what}"]
    if len(classes) != count:
        return [f"classes have no names: {name} has {len(classes)} of them, the model {count}"]
    recipe["classes"] = list(classes)
    if len(palette) == count and "palette" not in recipe:
        recipe["palette"] = [list(colour) for colour in palette]
    return []
