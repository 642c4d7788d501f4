"""``input`` of a timm ViT, whose model fixes its size."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import mapping
from edgeexport.hosts.input_config import batch_of_shape, crop_from_config, preprocess_from_config
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.inputs.spec import InputSpec

__all__ = ["timm_input_from_config"]


def timm_input_from_config(value: object, place: Place, model: TimmVitSpec) -> InputSpec:
    """Validates ``input=dict(shape=(B, C, H, W), preprocess=..., crop=...)``, with clips ``(B, C, T, H, W)``.

    Raises:
        RecipeError: Channels that no photograph gives, another shape than the model's, or preprocessing of what is no
            colour image.
    """
    config = mapping(value, place, ("crop", "preprocess", "shape"))
    channels = (1, 3) if model.frames is None else (3,)
    if model.in_channels not in channels:
        taken = f"the model takes {'clips' if model.frames is not None else 'images'} of {model.in_channels} channels"
        problem = f"{taken}, and builds are verified on photographs, which give 3" + (", or 1" if 1 in channels else "")
        raise place.error(value, problem, f"use model.in_chans={' or '.join(map(str, reversed(channels)))}")
    clip = () if model.frames is None else (model.frames,)
    names = "(B, C, T, H, W)" if clip else "(B, C, H, W)"
    batch = batch_of_shape(
        config,
        place,
        (model.in_channels, *clip, *model.img_size),
        names,
        "make them agree: the model's size is model.img_size"
        + (", its channels model.in_chans" if not clip else ", its channels model.in_chans, its length model.frames"),
    )
    preprocess, crop = config.get("preprocess"), config.get("crop")
    for key in ("preprocess", "crop") if model.in_channels != 3 or clip else ():
        if config.get(key) is not None:
            taken = f"clips of {model.frames} frames" if clip else f"{model.in_channels} channel(s)"
            problem = f"is for colour images, and the model takes {taken}"
            raise place.at(key).error(config[key], problem, "leave it out: the input is float32")
    return InputSpec(
        batch=batch,
        height=model.img_size[0],
        width=model.img_size[1],
        preprocess=None if preprocess is None else preprocess_from_config(preprocess, place.at("preprocess")),
        channels=model.in_channels,
        frames=model.frames,
        crop=None if crop is None else crop_from_config(crop, place.at("crop")),
    )
