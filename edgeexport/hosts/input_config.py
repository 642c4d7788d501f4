"""A recipe's ``input``, as far as families of models share it: preprocessing, and shapes that the model fixes."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, integer, mapping, number, sequence
from edgeexport.inputs.spec import InputSpec, Preprocess

__all__ = ["batch_of_shape", "input_shape", "preprocess_from_config"]


def preprocess_from_config(value: object, place: Place) -> Preprocess:
    """Validates ``input.preprocess`` of images with three channels.

    Raises:
        RecipeError: A missing or unknown key, or values that are no mean and no positive deviation.
    """
    config = mapping(value, place, ("bgr_to_rgb", "mean", "std"))
    for key, example in (("mean", "mean=[123.675, 116.28, 103.53]"), ("std", "std=[58.395, 57.12, 57.375]")):
        if key not in config:
            raise place.missing(key, example)
    mean = _three_numbers(config["mean"], place.at("mean"))
    std = _three_numbers(config["std"], place.at("std"))
    if min(std) <= 0:
        raise place.at("std").error(config["std"], "every value must be positive: pixels are divided by it")
    return Preprocess(mean, std, boolean(config.get("bgr_to_rgb", False), place.at("bgr_to_rgb")))


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
