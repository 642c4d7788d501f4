"""What goes in and what comes out of a SegViT: a recipe's ``input``, ``output``, ``tail`` and ``extra_outputs``."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, choice, integer, mapping, number, sequence, string
from edgeexport.errors import nearest_hint
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.inputs.spec import InputSpec, Preprocess
from edgeexport.recipe.schema import ReductionSpec, TailSpec

__all__ = [
    "OUTPUTS",
    "available_extra_outputs",
    "extra_outputs_from_config",
    "input_from_config",
    "preprocess_from_config",
    "tail_from_config",
]

OUTPUTS = ("class_map", "scores")
_DEFAULT_CANDIDATES = 16


def input_from_config(value: object, place: Place, multiple: int, rule: str) -> InputSpec:
    """Validates ``input=dict(shape=(B, 3, H, W), preprocess=dict(mean, std, bgr_to_rgb) | None)``.

    Args:
        value: The unvalidated input.
        place: Where it stands.
        multiple: Both sides must be multiples of it, in pixels.
        rule: What ``multiple`` is, for the message.

    Raises:
        RecipeError: A wrong shape, or a side that ``multiple`` does not divide.
    """
    config = mapping(value, place, ("preprocess", "shape"))
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
    )


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


def available_extra_outputs(output: str, tail: TailSpec, reduction: ReductionSpec) -> tuple[str, ...]:
    """Names that ``extra_outputs`` may hold for this recipe.

    - ``uncertified_pixels``: pixels whose class the fast tail cannot prove;
    - ``shared_windows``: the windows that share a token;
    - for each block b that prunes: ``pruned_tokens_b``, ``smallest_pruned_confidence_b``, ``protected_pruned_b``.
    """
    names = ["uncertified_pixels"] if output == "class_map" and tail.form == "fast" else []
    if reduction.cts is not None and reduction.cts.num_shared > 0:
        names.append("shared_windows")
    for block, count in reduction.dtop.prune if reduction.dtop is not None else ():
        if count > 0:
            names += [f"pruned_tokens_{block}", f"smallest_pruned_confidence_{block}", f"protected_pruned_{block}"]
    return tuple(names)


def extra_outputs_from_config(value: object, place: Place, available: tuple[str, ...]) -> tuple[str, ...]:
    """Validates ``extra_outputs``: further graph outputs, in the order given.

    Raises:
        RecipeError: A name that this recipe does not compute, or a name given twice.
    """
    names: list[str] = []
    for position, entry in enumerate(sequence(value, place)):
        name = string(entry, place.at(position))
        if name not in available:
            remedy = nearest_hint(name, available) if available else "this recipe has none: write extra_outputs=()"
            raise place.at(position).error(name, "this recipe computes no such output", remedy)
        if name in names:
            raise place.at(position).error(name, "is given twice", "name every output once")
        names.append(name)
    return tuple(names)
