"""What the families of models decide for themselves: the part of a recipe that `recipe_from_config` takes from them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexport.config.place import Place
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import ModelSpec, ReductionSpec, TailSpec

__all__ = ["NO_TAIL", "RecipeParts", "refuse_given"]

NO_TAIL = TailSpec("none", 0)


@dataclass(frozen=True)
class RecipeParts:
    """A family's validated part of a recipe.

    ``extra_outputs`` are the names on offer. ``text`` holds the resolved entries of the family's keys: ``model``,
    ``reduction``, ``tail`` and ``palette``.
    """

    model: ModelSpec
    input: InputSpec
    output: str
    reduction: ReductionSpec
    tail: TailSpec
    extra_outputs: tuple[str, ...]
    num_classes: int
    palette: tuple[tuple[int, int, int], ...]
    text: dict[str, object]


def refuse_given(value: object, place: Place, reason: str) -> None:
    """Refuses a key that this family of models has no use for; None and empty lists are as good as absent.

    Raises:
        RecipeError: It is given.
    """
    if value is None or (isinstance(value, (list, tuple, dict)) and not value):
        return
    raise place.error(value, f"unsupported: {reason}", "leave it out")
