"""A recipe's ``taps``: blocks of a timm ViT after which tokens are given out, for decoders that read several."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, integer, mapping, sequence

__all__ = ["taps_from_config"]


def taps_from_config(value: object, place: Place, num_layers: int) -> tuple[tuple[int, ...], bool]:
    """Validates ``taps=[2, 5, 8, 11]`` or ``taps=dict(blocks=[...], norm=False)``.

    Blocks count from 0, as in timm's `forward_intermediates` and DINOv2's `get_intermediate_layers`. ``norm``: the final norm
    is applied to each.

    Returns:
        The blocks in the order given, and whether they are normalised.

    Raises:
        RecipeError: A block that the model does not have, or one given twice.
    """
    if value is None:
        return (), True
    blocks, at, norm = value, place, True
    if isinstance(value, dict):
        config = mapping(value, place, ("blocks", "norm"))
        if "blocks" not in config:
            raise place.missing("blocks", "blocks=[2, 5, 8, 11]")
        blocks, at = config["blocks"], place.at("blocks")
        norm = boolean(config.get("norm", True), place.at("norm"))
    taps: list[int] = []
    for position, entry in enumerate(sequence(blocks, at)):
        block = integer(entry, at.at(position))
        if not 0 <= block < num_layers:
            problem = f"no such block: the model has {num_layers}, counted from 0"
            raise at.at(position).error(block, problem, f"use 0 to {num_layers - 1}")
        if block in taps:
            raise at.at(position).error(block, "is given twice", "name every block once")
        taps.append(block)
    return tuple(taps), norm
