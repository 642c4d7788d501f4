"""A recipe's ``input``, as far as families of models share it: preprocessing, and shapes that the model fixes."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, choice, integer, mapping, number, reject_unless, sequence
from edgeexport.inputs.spec import INTERPOLATIONS, Crop, InputSpec, Preprocess

__all__ = ["batch_of_shape", "crop_from_config", "input_shape", "padding_from_config", "preprocess_from_config"]


def preprocess_from_config(value: object, place: Place) -> Preprocess:
    """Validates ``input.preprocess`` of images with three channels.

    Raises:
        RecipeError: A missing or unknown key, or values that are no mean and no positive deviation of pixels from 0 to 255.
    """
    config = mapping(value, place, ("bgr_to_rgb", "mean", "std"))
    for key, example in (("mean", "mean=[123.675, 116.28, 103.53]"), ("std", "std=[58.395, 57.12, 57.375]")):
        if key not in config:
            raise place.missing(key, example)
    mean = _three_numbers(config["mean"], place.at("mean"))
    std = _three_numbers(config["std"], place.at("std"))
    if min(std) <= 0:
        raise place.at("std").error(config["std"], "every value must be positive: pixels are divided by it")
    if max(*mean, *std) <= 1:
        scaled = ", ".join(
            f"{key}={[round(255 * entry, 3) for entry in own]}" for key, own in (("mean", mean), ("std", std))
        )
        problem = "mean and std are all at most 1, so they are of pixels from 0 to 1; these are from 0 to 255"
        raise place.error({"mean": mean, "std": std}, problem, f"write them times 255: {scaled}")
    return Preprocess(mean, std, boolean(config.get("bgr_to_rgb", False), place.at("bgr_to_rgb")))


def padding_from_config(value: object, place: Place) -> Crop:
    """Validates ``input.crop=dict(mode='pad', interpolation)`` of models that predict every pixel; bilinear by default.

    Raises:
        RecipeError: An unknown key or interpolation, or a mode that cuts something off.
    """
    config = mapping(value, place, ("interpolation", "mode", "pct"))
    if "mode" not in config:
        raise place.missing("mode", "mode='pad'")
    mode = choice(config["mode"], place.at("mode"), ("pad", "squash"))
    reject_unless(config.get("pct", 1.0), place.at("pct"), (1.0,), "every pixel is predicted, and nothing is cut off")
    return Crop(1.0, mode, choice(config.get("interpolation", "bilinear"), place.at("interpolation"), INTERPOLATIONS))


def crop_from_config(value: object, place: Place) -> Crop:
    """Validates ``input.crop=dict(pct, mode, interpolation)``; by default nothing is cut off, and interpolation is bicubic.

    Raises:
        RecipeError: An unknown key, mode or interpolation, or a share that is not above 0 and at most 1.
    """
    config = mapping(value, place, ("interpolation", "mode", "pct"))
    pct = number(config.get("pct", 1.0), place.at("pct"))
    if not 0 < pct <= 1:
        raise place.at("pct").error(
            config["pct"], "expected a share above 0 and at most 1", "timm's crop_pct, such as 0.9"
        )
    mode = choice(config.get("mode", "center"), place.at("mode"), ("center", "squash"))
    return Crop(pct, mode, choice(config.get("interpolation", "bicubic"), place.at("interpolation"), INTERPOLATIONS))


def _three_numbers(value: object, place: Place) -> tuple[float, float, float]:
    first, second, third = (number(entry, place.at(i)) for i, entry in enumerate(sequence(value, place, 3)))
    return first, second, third


def input_shape(size: InputSpec) -> list[int]:
    """``input.shape`` as a recipe writes it: channels first, whatever the graph takes."""
    if size.context is not None or size.frames is not None:
        return list(size.shape)
    return [size.batch, size.channels, size.height, size.width]


def batch_of_shape(config: dict[str, object], place: Place, wanted: tuple[int, ...], names: str, remedy: str) -> int:
    """The batch of a ``shape`` whose other entries are ``wanted``."""
    shown = ", ".join(map(str, wanted))
    if "shape" not in config:
        raise place.missing("shape", f"shape=(1, {shown})")
    at = place.at("shape")
    entries = sequence(config["shape"], at)
    if len(entries) != 1 + len(wanted):
        raise at.error(config["shape"], f"expected {names} = (B, {shown}), found {len(entries)} values", remedy)
    batch, *rest = (integer(entry, at.at(position), minimum=1) for position, entry in enumerate(entries))
    if tuple(rest) != wanted:
        raise at.error(config["shape"], f"expected {names} = (B, {shown}), as the model is", remedy)
    return batch
