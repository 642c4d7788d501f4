"""What goes into and comes out of a SegViT: a recipe's ``input`` and ``tail``."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import choice, integer, mapping, sequence
from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.input_config import padding_from_config, preprocess_from_config
from edgeexport.hosts.segvit.spec import SegVitSpec
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


def tail_from_config(value: object, place: Place, model: SegVitSpec) -> TailSpec:
    """Validates ``tail``: how a class map is made from token scores. Scores as output do not use it.

    The fast form blends, in each low-resolution cell, the ``candidates`` classes with the largest corner; with all
    classes as candidates it is the plain one. It needs scores per token, which `ATMHead` does not have: its tail is its
    own, 'plain'. By default: 'fast' with 16 candidates, or with all classes where there are fewer.

    Raises:
        RecipeError: An unknown form, a count out of range, or the fast form where there is none.
    """
    config = mapping({} if value is None else value, place, ("candidates", "form"))
    classes, head = model.decode_head.num_classes, model.decode_head.type
    possible = head == "PruneHead" and classes > 1
    form = choice(config.get("form", "fast" if possible else "plain"), place.at("form"), ("fast", "plain"))
    if form == "fast" and not possible:
        reason = f"{head} resizes masks, not scores" if head != "PruneHead" else "there is only one class"
        raise place.at("form").error(form, f"unsupported: {reason}", "use form='plain', or leave it out")
    default = min(_DEFAULT_CANDIDATES, classes)
    candidates = integer(config.get("candidates", default), place.at("candidates"), minimum=1, maximum=classes)
    return TailSpec(form=form, candidates=candidates)
