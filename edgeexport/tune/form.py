"""A static form of a model: what its recipe's ``reduction`` says; nothing for the dense model."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeexport.recipe.schema import Recipe
from edgeexport.reductions import REDUCTIONS
from edgeexport.tokens.changes import Cut

__all__ = ["DENSE_FORM", "Form", "recipe_of_form"]


@dataclass(frozen=True, order=True)
class Form:
    """Hashable and plain, so that results can be kept by it and workers can be sent it.

    Attributes:
        way: Method and its own options, for people: 'dsm delay=2 window=7'.
        reduction: The recipe's ``reduction`` as a Python literal, from `Form.of`.
    """

    way: str
    reduction: str

    @classmethod
    def of(cls, way: str, reduction: Mapping[str, Mapping[str, Any]]) -> Form:
        """From a recipe's ``reduction``: method -> its entry."""
        return cls(way, repr({key: dict(value) for key, value in reduction.items()}))

    @property
    def is_dense(self) -> bool:
        """Whether nothing is removed."""
        return not self.config

    @property
    def config(self) -> dict[str, dict[str, Any]]:
        """The recipe's ``reduction``."""
        return dict(ast.literal_eval(self.reduction))

    @property
    def counts(self) -> str:
        """How many tokens, for people: 'r = 8'."""
        said = []
        for value in self.config.values():
            said += [f"{key} = {_short(value[key])}" for key in ("num_shared", "prune", "windows", "r") if key in value]
        return ", ".join(said)

    @property
    def name(self) -> str:
        """Way and counts: 'tome, r = 8'."""
        return ", ".join(part for part in (self.way, self.counts) if part)

    @property
    def file_name(self) -> str:
        """The same as part of a file's name."""
        kept = "".join(sign if sign.isalnum() or sign in "._-" else " " for sign in f"{self.way} {self.counts}")
        return "_".join(kept.split())


DENSE_FORM = Form.of("none", {})


def recipe_of_form(dense: Recipe, form: Form) -> Recipe:
    """The dense recipe with a form's reductions; ``text`` stays the dense one's.

    Raises:
        RecipeError: The model does not take it.
    """
    facts, asked = dense.facts, form.config
    tokens, specs = facts.num_tokens, {}
    for key in [key for key in REDUCTIONS if key in asked]:
        method, place = REDUCTIONS[key], dense.place_of(key)
        if reason := method.refuses(facts):
            raise place.error(asked[key], reason, "use another method")
        spec = method.spec_from_config(asked[key], place, facts, tokens, dense.path.parent)
        if spec is None:
            continue
        specs[key] = spec
        changes = method.changes(spec, facts, tokens, place)
        tokens = next((change.tokens_out for change in changes if change.cut is Cut.EMBEDDING), tokens)
    return replace(dense, reductions=specs)


def _short(value: object) -> str:
    """A list of counts with its runs told once: '9 (x4), 8 (x8)'."""
    if not isinstance(value, (list, tuple)):
        return str(value)
    runs: list[tuple[object, int]] = []
    for item in value:
        if runs and runs[-1][0] == item:
            runs[-1] = (item, runs[-1][1] + 1)
        else:
            runs.append((item, 1))
    return " ".join(f"{item}(x{times})" if times > 1 else f"{item}" for item, times in runs)
