"""What goes into and comes out of a segmenter: a recipe's ``input`` and ``tail``."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import choice, integer, mapping, sequence
from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.input_config import padding_from_config, preprocess_from_config
from edgeexport.inputs.spec import InputSpec

__all__ = ["input_from_config", "tail_from_config"]

_DEFAULT_CANDIDATES = 16


def input_from_config(value: object, place: Place, multiple: int, rule: str) -> InputSpec:
    """Validates ``input=dict(shape=(B, 3, H, W), preprocess=dict(mean, std, bgr_to_rgb) | None, crop=None)``.

    Args:
        value: The unvalidated input.
        place: Where it stands.
        multiple: Both sides must be multiples of it, in pixels.
        rule: What ``multiple`` is, for the message.

    Raises:
        RecipeError: A wrong shape, or a side that ``multiple`` does not divide.
    """
    config = mapping(value, place, ("crop", "preprocess", "shape"))
    if "shape" not in config:
        raise place.missing("shape", "shape=(1, 3, 512, 512)")
    at = place.at("shape")
    entries = sequence(config["shape"], at, 4)
    batch, channels, height, width = (integer(entry, at.at(i), minimum=1) for i, entry in enumerate(entries))
    if channels != 3:
        raise at.error(config["shape"], f"expected (B, 3, H, W), found {channels} channels", "images have 3 channels")
    for name, side in (("height", height), ("width", width)):
        if side % multiple:
            below = side - side % multiple
            nearest = f"{below} or {below + multiple}" if below else str(multiple)
            raise at.error(config["shape"], f"the {name} {side} is not divisible by {rule}", f"use {nearest}")
    preprocess = config.get("preprocess")
    return InputSpec(
        batch=batch,
        height=height,
        width=width,
        preprocess=None if preprocess is None else preprocess_from_config(preprocess, place.at("preprocess")),
        crop=None if config.get("crop") is None else padding_from_config(config["crop"], place.at("crop")),
    )


def tail_from_config(value: object, place: Place, classes: int, why_not_fast: str = "") -> TailSpec:
    """Validates ``tail``: how a class map is made from token scores. Scores as output do not use it.

    The fast form blends, in each low-resolution cell, the ``candidates`` classes with the largest corner; with all
    classes as candidates it is the plain one. It needs class scores per patch; a head without them says ``why_not_fast``, and
    its tail is its own, 'plain'. By default: 'fast' with 16 candidates, or with all classes where there are fewer.

    Raises:
        RecipeError: An unknown form, a count out of range, or the fast form where there is none.
    """
    config = mapping({} if value is None else value, place, ("candidates", "form"))
    if not why_not_fast and classes == 1:
        why_not_fast = "there is only one class"
    form = choice(config.get("form", "plain" if why_not_fast else "fast"), place.at("form"), ("fast", "plain"))
    if form == "fast" and why_not_fast:
        raise place.at("form").error(form, f"unsupported: {why_not_fast}", "use form='plain', or leave it out")
    default = min(_DEFAULT_CANDIDATES, classes)
    candidates = integer(config.get("candidates", default), place.at("candidates"), minimum=1, maximum=classes)
    return TailSpec(form=form, candidates=candidates)
