"""``model.test_cfg``: how an image is predicted, whole or by windows that slide over it."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import choice, mapping, pair
from edgeexport.inputs.spec import InputSpec

__all__ = ["check_test_mode"]


def check_test_mode(model: object, place: Place, size: InputSpec) -> None:
    """Checks ``model.test_cfg``: a bundle predicts one image of the input's shape, so a window must be that image.

    The published configs slide a window of the training size; over an input of that size it has one position.

    Raises:
        RecipeError: A window of another size, or an unknown mode.
    """
    value = model.get("test_cfg") if isinstance(model, dict) else None
    if value is None:
        return
    config = mapping(value, place, ("crop_size", "mode", "stride"))
    mode = choice(config.get("mode", "whole"), place.at("mode"), ("whole", "slide"))
    window = config.get("crop_size", (size.height, size.width))
    if mode == "slide" and pair(window, place.at("crop_size")) != (size.height, size.width):
        raise place.at("crop_size").error(
            window,
            f"slides over the input of {size.height} x {size.width}: a bundle predicts one image of the input's shape",
            "give input.shape the window's size, or set test_cfg=dict(mode='whole')",
        )
