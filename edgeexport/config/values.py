"""Typed reading of single recipe values: each function returns the value or says what was expected.

Nothing is converted silently: True is not the integer 1, '8' is not 8, and 8.0 is not a block number.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from edgeexport.config.place import Place, shown_value
from edgeexport.errors import nearest_hint

__all__ = [
    "MOST_LAYERS",
    "boolean",
    "choice",
    "integer",
    "mapping",
    "number",
    "pair",
    "reject_unless",
    "sequence",
    "string",
]

MOST_LAYERS = 1024
"""Blocks or layers of a model: beyond, something was mistyped, and building them would take for ever."""

_LONGEST_SIDE = 1 << 16


def mapping(value: object, place: Place, known: Collection[str]) -> dict[str, object]:
    """A dict whose keys are all ``known``.

    Raises:
        RecipeError: It is no dict, or has an unknown key; the nearest known key is named.
    """
    if not isinstance(value, Mapping):
        raise place.error(value, "expected a dict", "known keys: " + ", ".join(sorted(known)))
    for key, entry in value.items():
        if key not in known:
            raise place.at(key).error(entry, f"unknown key {key!r}", nearest_hint(str(key), known))
    return dict(value)


def integer(value: object, place: Place, minimum: int | None = None, maximum: int | None = None) -> int:
    """An integer (not a bool) within the bounds.

    Raises:
        RecipeError: It is none, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise place.error(value, f"expected an integer{_bounds(minimum, maximum)}, found {_kind(value)}")
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise place.error(value, f"out of range: expected an integer{_bounds(minimum, maximum)}")
    return value


def number(value: object, place: Place) -> float:
    """A finite int or float (not a bool), as float.

    Raises:
        RecipeError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise place.error(value, f"expected a finite number, found {_kind(value)}")
    return float(value)


def boolean(value: object, place: Place) -> bool:
    """True or False.

    Raises:
        RecipeError: It is neither.
    """
    if not isinstance(value, bool):
        raise place.error(value, f"expected True or False, found {_kind(value)}")
    return value


def string(value: object, place: Place) -> str:
    """A string that is not empty.

    Raises:
        RecipeError: It is none.
    """
    if not isinstance(value, str) or not value:
        raise place.error(value, f"expected a string, found {_kind(value)}")
    return value


def choice(value: object, place: Place, allowed: Collection[str]) -> str:
    """One of the ``allowed`` strings.

    Raises:
        RecipeError: It is none; the nearest is named.
    """
    if not isinstance(value, str) or value not in allowed:
        expected = "expected one of " + ", ".join(repr(name) for name in allowed)
        raise place.error(value, expected, nearest_hint(value, allowed) if isinstance(value, str) else "")
    return value


def sequence(value: object, place: Place, length: int | None = None) -> list[object]:
    """A list or tuple, of ``length`` entries where that is given.

    Raises:
        RecipeError: It is none, or has another length.
    """
    wanted = "a list" if length is None else f"{length} values"
    if not isinstance(value, (list, tuple)):
        raise place.error(value, f"expected {wanted}, found {_kind(value)}")
    if length is not None and len(value) != length:
        raise place.error(value, f"expected {wanted}, found {len(value)}")
    return list(value)


def pair(value: object, place: Place) -> tuple[int, int]:
    """(height, width) from an integer, ``(n,)`` or ``(h, w)``, as mmsegmentation takes sizes.

    Raises:
        RecipeError: It is none of them, or not positive.
    """
    if not isinstance(value, (list, tuple)):
        side = integer(value, place, 1, _LONGEST_SIDE)
        return side, side
    if len(value) not in (1, 2):
        raise place.error(value, f"expected (height, width), found {len(value)} values")
    sides = [integer(side, place.at(position), 1, _LONGEST_SIDE) for position, side in enumerate(value)]
    return sides[0], sides[-1]


def reject_unless(value: object, place: Place, supported: Collection[object], reason: str) -> None:
    """Accepts only ``supported`` values of a key that changes what the model computes.

    Raises:
        RecipeError: Another value was found.
    """
    for candidate in supported:
        if value == candidate and isinstance(value, bool) == isinstance(candidate, bool):
            return
    wanted = " or ".join(shown_value(candidate) for candidate in supported)
    raise place.error(value, f"unsupported: {reason}", f"supported: {wanted}")


def _bounds(minimum: int | None, maximum: int | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return f" of at most {maximum}" if maximum is not None else ""


def _kind(value: object) -> str:
    if value is None or value == "":
        return "None" if value is None else "an empty string"
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
