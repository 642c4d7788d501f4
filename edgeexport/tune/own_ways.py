"""Ways that a recipe brings along: its own reductions, all together and one by one, at more and fewer tokens.

So methods that were trained for (CTS's policy network, DToP's heads), and any other that a recipe names, are searched
without naming them here: what counts tokens in a recipe is scaled, the rest stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeexport.errors import RecipeError
from edgeexport.fixed.schedule import token_schedule
from edgeexport.recipe.schema import Recipe
from edgeexport.tune.form import Form, recipe_of_form
from edgeexport.tune.ladder import Ladder, Step, plateaus

__all__ = ["COUNTS", "OWN", "own_forms", "own_ladder"]

COUNTS = ("num_shared", "prune", "r", "windows")
"""Keys of a recipe's ``reduction`` that count tokens."""

OWN = "own "
"""How the name of such a way begins."""

_PARTS = 24  # of the recipe's own counts
_MOST = 36


def own_forms(given: Recipe) -> dict[str, Form]:
    """Way -> the recipe's own form of it; empty for a dense recipe.

    Args:
        given: As loaded, reductions included.
    """
    config: Any = given.text.get("reduction") or {}
    own = {key: dict(value) for key, value in config.items() if key in given.reductions}
    ways = {"+".join(own): own} if own else {}
    if len(own) > 1:
        ways |= {key: {key: value} for key, value in own.items()}
    return {f"{OWN}{way}": Form.of(f"{OWN}{way}", reduction) for way, reduction in ways.items()}


def own_ladder(dense: Recipe, form: Form, cost: Callable[[Recipe], float]) -> Ladder:
    """From a 24th of the recipe's own counts to one and a half times, as far as the model takes them.

    Args:
        dense: Without reductions.
        form: From `own_forms`.
        cost: Of a recipe.
    """
    steps: list[Step] = []
    seen: set[str] = set()
    for part in range(1, _MOST + 1):
        scaled = Form.of(form.way, {key: _scaled(value, part / _PARTS) for key, value in form.config.items()})
        if scaled.reduction in seen:
            continue
        seen.add(scaled.reduction)
        try:
            recipe = recipe_of_form(dense, scaled)
            left = token_schedule(recipe).blocks[-1].branches[-1].work
        except RecipeError:  # more than there are
            break
        if recipe.reductions:
            steps.append(Step(scaled, left, cost(recipe)))
    return Ladder(form.way, plateaus(steps), tuple(steps))


def _scaled(entry: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {key: _times(value, factor) if key in COUNTS else value for key, value in entry.items()}


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, Mapping):
        return {block: _times(count, factor) for block, count in value.items()}
    if isinstance(value, (list, tuple)) and not any(isinstance(item, float) for item in value):
        return [_times(item, factor) for item in value]
    if isinstance(value, (list, tuple)):  # (r, inflection)
        return [_times(value[0], factor), value[1]]
    return round(value * factor)
