"""``model.test_cfg``: how an image is predicted, whole or by windows that slide over it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeexport.config.place import Place
from edgeexport.config.values import choice, mapping, pair
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.windows import WindowGrid

__all__ = ["Slide", "checked_slide", "slide_from_config", "window_grid", "window_input"]


@dataclass(frozen=True)
class Slide:
    """Windows of ``crop`` (height, width) pixels in steps of ``stride``."""

    crop: tuple[int, int]
    stride: tuple[int, int]


def slide_from_config(value: object, place: Place) -> Slide | None:
    """Validates ``model.test_cfg``, None for whole images.

    Raises:
        RecipeError: An unknown mode, windows without a size or step, or a step that leaves pixels between windows.
    """
    if value is None:
        return None
    config = mapping(value, place, ("crop_size", "mode", "stride"))
    if choice(config.get("mode", "whole"), place.at("mode"), ("whole", "slide")) == "whole":
        return None
    if "crop_size" not in config:
        raise place.missing("crop_size", "crop_size=(512, 512)")
    crop = pair(config["crop_size"], place.at("crop_size"))
    # Published configs of images that are one window leave the stride out, or name it.
    stride = pair(config.get("stride", crop), place.at("stride"))
    for one, other in zip(stride, crop, strict=True):
        if one > other:
            problem = (
                f"steps further than the window of {crop[0]} x {crop[1]}: pixels between windows have no prediction"
            )
            raise place.at("stride").error(config["stride"], problem, f"use at most {crop}")
    return Slide(crop, stride)


def window_grid(slide: Slide | None, size: InputSpec) -> WindowGrid | None:
    """Where windows lie in the input; None where it is predicted whole, or is one window."""
    if slide is None:
        return None
    grid = WindowGrid((size.height, size.width), slide.crop, slide.stride)
    return grid if grid.count > 1 else None


def window_input(slide: Slide | None, size: InputSpec) -> InputSpec:
    """What the model itself sees: an input of one window's size, or the whole one."""
    grid = window_grid(slide, size)
    return size if grid is None else replace(size, height=grid.window[0], width=grid.window[1])


def checked_slide(slide: Slide, place: Place, size: InputSpec, multiple: int, rule: str) -> None:
    """Windows have to lie inside the image, and to be made of whole patches.

    Args:
        slide: The windows.
        place: Of ``model.test_cfg``.
        size: The input.
        multiple, rule: What both sides of a window must be multiples of, and why.

    Raises:
        RecipeError: They do not.
    """
    at = place.at("crop_size")
    image = (size.height, size.width)
    if slide.crop[0] > image[0] or slide.crop[1] > image[1]:
        problem = f"is larger than the input of {image[0]} x {image[1]}"
        raise at.error(slide.crop, problem, "give input.shape an image's size, or use smaller windows")
    for name, side in zip(("height", "width"), slide.crop, strict=True):
        if side % multiple:
            below = side - side % multiple
            nearest = f"{below} or {below + multiple}" if below else str(multiple)
            raise at.error(slide.crop, f"the {name} {side} is not divisible by {rule}", f"use {nearest}")
