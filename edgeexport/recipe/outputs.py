"""``extra_outputs``: what a recipe asks for beside the prediction."""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import sequence, string
from edgeexport.errors import nearest_hint

__all__ = ["extra_outputs_from_config", "strings"]


def strings(value: object) -> tuple[str, ...]:
    """The names in a list that is not validated yet."""
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, (list, tuple)) else ()


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
