"""Where a value stands in a recipe: the first part of every message about it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexport.errors import RecipeError

__all__ = ["Place", "shown_value"]

_SHOWN_CHARACTERS = 80


def shown_value(value: object) -> str:
    """``repr`` of a value, shortened to fit a one-line message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


@dataclass(frozen=True)
class Place:
    """A key path in a recipe file, such as ``recipes/x.py: reduction.dtop.prune[8]``."""

    file: str
    path: str = ""

    def at(self, key: object) -> Place:
        """The place of entry ``key``: ``.name`` for names, ``[8]`` for block numbers and list positions."""
        if isinstance(key, str):
            return Place(self.file, f"{self.path}.{key}" if self.path else key)
        return Place(self.file, f"{self.path}[{key!r}]")

    def __str__(self) -> str:
        return f"{self.file}: {self.path}" if self.path else self.file

    def error(self, value: object, problem: str, remedy: str = "") -> RecipeError:
        """The error for the ``value`` found here, to be raised by the caller."""
        return RecipeError(f"{self} = {shown_value(value)}", problem, remedy)

    def missing(self, key: str, example: str) -> RecipeError:
        """The error for a required ``key`` that is not here; ``example`` shows what to write."""
        return RecipeError(str(self), f"required key '{key}' is missing", f"add {example}")
