"""What a config of mmsegmentation says of its data: sizes, normalisation, how test images are resized, where labels are.

Configs of mmsegmentation 1.x name them in ``data_preprocessor`` and ``*_dataloader``, those of 0.x in ``data`` and in a
``Normalize`` step. Nothing here is validated but what is read; the rest of a pipeline is training's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeexport.config.place import Place

__all__ = ["data_set_config", "input_size", "keeps_ratio", "normalisation", "states_reduced_zero", "test_steps"]

_WRAPPED = ("dataset", "datasets")
_INNER = ("transforms", "transform")
_DEEPEST = 8
_BGR_REMEDY = "reverse the first convolution's input channels, and set bgr_to_rgb=True"


def data_set_config(config: Mapping[str, Any], part: str = "test") -> Mapping[str, Any]:
    """The data set that a config is tested (or trained: 'train') on, unwrapped of repetition; empty where it names none."""
    kinds = (part,) if part == "train" else (part, "val")
    for kind in kinds:
        loader, data = config.get(f"{kind}_dataloader"), config.get("data")
        found = loader.get("dataset") if isinstance(loader, Mapping) else None
        if found is None and isinstance(data, Mapping):
            found = data.get(kind)
        for _ in range(_DEEPEST):
            if isinstance(found, (list, tuple)) and found:
                found = found[0]
            inner = next((found[key] for key in _WRAPPED if key in found), None) if isinstance(found, Mapping) else None
            if inner is None:
                break
            found = inner
        if isinstance(found, Mapping) and found.get("type") is not None:
            return found
    stated = config.get("dataset_type")
    return {"type": stated} if isinstance(stated, str) else {}


def test_steps(config: Mapping[str, Any], part: str = "test") -> list[Mapping[str, Any]]:
    """The steps of the pipeline that is run at testing (or training), those inside of others (flips, scales) included."""
    pipeline = data_set_config(config, part).get("pipeline", config.get(f"{part}_pipeline"))
    return list(_steps(pipeline, _DEEPEST))


def _steps(pipeline: object, depth: int) -> Iterator[Mapping[str, Any]]:
    if isinstance(pipeline, Mapping):
        yield pipeline
        for key in _INNER:
            if depth and key in pipeline:
                yield from _steps(pipeline[key], depth - 1)
    elif isinstance(pipeline, (list, tuple)) and depth:
        for step in pipeline:
            yield from _steps(step, depth - 1)


def _step(steps: list[Mapping[str, Any]], *kinds: str) -> Mapping[str, Any]:
    """The first of a kind, its scope ('mmseg.') taken off; empty without."""
    return next((step for step in steps if str(step.get("type")).rpartition(".")[2] in kinds), {})


def _preprocessor(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """``model.data_preprocessor``, or the top-level one that mmengine's Runner takes in its place; and its key path."""
    model = config.get("model")
    own = model.get("data_preprocessor") if isinstance(model, Mapping) else None
    if isinstance(own, Mapping):
        return own, "model.data_preprocessor"
    outer = config.get("data_preprocessor")
    return (outer, "data_preprocessor") if isinstance(outer, Mapping) else ({}, "data_preprocessor")


def input_size(config: Mapping[str, Any]) -> tuple[object, str]:
    """The (height, width) that a model was trained at, not validated, and the key it is from; None where there is none.

    The first of: the preprocessor's ``size``, the variable ``crop_size``, the training pipeline's crop, the window of
    ``test_cfg``, the size of the position embedding.
    """
    preprocessor, path = _preprocessor(config)
    model: Any = config.get("model")
    parts = {key: model[key] for key in ("test_cfg", "backbone") if isinstance(model.get(key), Mapping)}
    candidates = (
        (preprocessor.get("size"), f"{path}.size"),
        (config.get("crop_size"), "crop_size"),
        (_step(test_steps(config, "train"), "RandomCrop").get("crop_size"), "train_pipeline: RandomCrop.crop_size"),
        (parts.get("test_cfg", {}).get("crop_size"), "model.test_cfg.crop_size"),
        (parts.get("backbone", {}).get("img_size"), "model.backbone.img_size"),
    )
    return next(((value, key) for value, key in candidates if value is not None), (None, ""))


def normalisation(config: Mapping[str, Any], place: Place) -> dict[str, object] | None:
    """``input.preprocess`` of a recipe; None where the config does not normalise, so that the graph takes float32.

    Raises:
        RecipeError: The model takes images in OpenCV's order, BGR, and normalises them in it.
    """
    preprocessor, path = _preprocessor(config)
    step = _step(test_steps(config), "Normalize")
    if preprocessor.get("mean") is not None:
        found, order, at = preprocessor, "bgr_to_rgb", path
    elif step.get("mean") is not None:
        found, order, at = step, "to_rgb", "test_pipeline: Normalize"
    else:
        return None
    turned = found.get(order, order == "to_rgb")
    if turned is not True:
        where = Place(place.file, f"{at}.{order}")
        raise where.error(turned, "the model would be fed BGR, and expected is RGB (True)", _BGR_REMEDY)
    return {"mean": found["mean"], "std": found.get("std"), "bgr_to_rgb": True}


def keeps_ratio(config: Mapping[str, Any]) -> bool:
    """Whether test images keep their proportions when they are resized."""
    resize = _step(test_steps(config), "Resize", "ResizeShortestEdge", "ResizeToMultiple")
    kept = resize.get("keep_ratio", str(resize.get("type")).endswith("ShortestEdge"))
    return kept is True


def states_reduced_zero(config: Mapping[str, Any]) -> bool | None:
    """Whether 0 is "no class" in annotations, as the data set or its pipeline states it; None where neither does."""
    stated = data_set_config(config).get("reduce_zero_label")
    if stated is None:
        stated = _step(test_steps(config), "LoadAnnotations").get("reduce_zero_label")
    if stated is None:
        stated = _step(test_steps(config, "train"), "LoadAnnotations").get("reduce_zero_label")
    return stated if isinstance(stated, bool) else None
