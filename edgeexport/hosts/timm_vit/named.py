"""What timm says of a model's name: the input that its weights were trained for, and how photographs are brought to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeexport.config.place import Place
from edgeexport.config.values import pair, string
from edgeexport.hosts.timm_vit.plain import check_timm_name
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.inputs.photos import IMAGENET_MEAN, IMAGENET_STD
from edgeexport.inputs.spec import InputSpec

__all__ = ["normalisation_warning", "timm_config_of_name"]

_IMAGENET_TAG = "in1k"
_IMAGENET_CLASSES = 1000
_CLOSE = 1.0  # of a pixel's 255 steps: roundings of the same mean


def timm_config_of_name(model: Mapping[str, object], place: Place) -> dict[str, object]:
    """See `Host.config_of_name`: size, mean, deviation, crop and interpolation from timm's configuration of the name.

    ``model.img_size`` gives another size, which the input follows.

    Raises:
        RecipeError: See `check_timm_name`; or an ``img_size`` that is none.
    """
    name = string(model.get("name"), place.at("name"))
    check_timm_name(name, place.at("name"))
    own = _configuration(name)
    size = model.get("img_size") or own["input_size"][1:]
    height, width = pair(size, place.at("img_size"))
    classes = model.get("num_classes", own["num_classes"])
    config: dict[str, object] = {
        "model": {
            "type": "timm",
            **model,
            "img_size": [height, width],
            "num_classes": classes,
            "dynamic_img_size": False,
        },
        "checkpoint": None,
        "input": {
            "shape": [1, 3, height, width],
            "preprocess": {
                "mean": [round(255 * value, 4) for value in own["mean"]],
                "std": [round(255 * value, 4) for value in own["std"]],
                "bgr_to_rgb": False,
            },
            "crop": {"pct": own["crop_pct"], "mode": own["crop_mode"], "interpolation": own["interpolation"]},
        },
    }
    if classes == _IMAGENET_CLASSES and _IMAGENET_TAG in own["tag"]:
        config["classes"] = "imagenet"
    return config


def normalisation_warning(spec: TimmVitSpec, size: InputSpec) -> tuple[str, ...]:
    """One line where a recipe names a model whose weights timm feeds pixels of another mean or deviation; else nothing.

    Without ``preprocess`` the image comes normalised, and `edgeexport run` takes ImageNet's values for it.
    """
    if spec.name is None or not size.is_photo:
        return ()
    own, rule = _configuration(spec.name), size.preprocess
    if not own["has_weights"]:
        return ()
    wanted = [[round(255 * value, 3) for value in own[key]] for key in ("mean", "std")]
    found = [[*IMAGENET_MEAN], [*IMAGENET_STD]] if rule is None else [[*rule.mean], [*rule.std]]
    if np.allclose(found, wanted, rtol=0, atol=_CLOSE):
        return ()
    by = "no preprocess, for which photographs get" if rule is None else "preprocess with"
    means, stds = (
        f"{key} {own} (timm: {theirs})" for key, own, theirs in zip(("mean", "std"), found, wanted, strict=True)
    )
    return (
        f"model.name = {spec.name!r}: the recipe has {by} {means} and {stds}; right only for weights that were trained so",
    )


def _configuration(name: str) -> dict[str, Any]:
    """timm's configuration of the name's pretrained weights, with its own defaults filled in."""
    import timm
    from timm.data import resolve_data_config

    given = timm.models.get_pretrained_cfg(name)
    assert given is not None
    return {
        **resolve_data_config({}, pretrained_cfg=given.to_dict()),
        "num_classes": given.num_classes,
        "tag": given.tag or "",
        "has_weights": bool(given.has_weights),
    }
