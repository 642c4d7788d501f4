"""``--cfg-options key=value``: single values set from the command line, after all merging.

The value REPLACES what stands at the key path; a dict is not merged into the one it replaces (mmengine would merge it).
``reduction.dtop.prune={8: 464}`` therefore prunes after block 8 alone, and ``reduction.dtop.prune.8=464`` changes that
one count.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Mapping, Sequence

from edgeexport.config.place import shown_value
from edgeexport.config.reading import strip_delete_marks
from edgeexport.errors import RecipeError

__all__ = ["config_with_options", "option_value"]

_INTEGER = re.compile(r"-?\d+")
_EXAMPLE = "write key=value, such as reduction.cts.num_shared=103"


def config_with_options(config: Mapping[str, object], options: Sequence[str]) -> dict[str, object]:
    """A copy of ``config`` with ``options`` applied in order; levels that do not exist yet are made.

    In the dotted path an integer addresses an integer key of a dict, or a position of a list. Whether a key means
    anything is not decided here: validation refuses unknown ones.

    Args:
        config: Plain data of a recipe.
        options: ``key=value`` strings; the value is a Python literal, anything else a string.

    Raises:
        RecipeError: An option has no ``=`` or an empty key, or its path leads through something that has no entries.
    """
    changed = copy.deepcopy(dict(config))
    for option in options:
        path, equals, text = option.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            problem = "has no '='" if not equals else "has an empty key"
            raise RecipeError(f"--cfg-options {option}", f"the option {problem}", _EXAMPLE)
        if keys[0].startswith("_"):
            raise RecipeError(
                f"--cfg-options {option}",
                f"'{keys[0]}' is a helper variable of the recipe, used up when the recipe was read",
                "set the key that it was used for",
            )
        steps = [int(key) if _INTEGER.fullmatch(key) else key for key in keys]
        changed = _replaced(changed, steps, strip_delete_marks(option_value(text)), f"--cfg-options {option}")  # type: ignore[assignment]
    return changed


def option_value(text: str) -> object:
    """The Python literal that ``text`` spells (integer keys of dicts stay integers), or ``text`` itself.

    ``dict(key=value)``, as recipes write it, counts as a literal.
    """
    try:
        return ast.literal_eval(_DictsAsLiterals().visit(ast.parse(text.strip(), mode="eval")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


class _DictsAsLiterals(ast.NodeTransformer):
    """``dict(a=1)`` becomes ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = [(ast.Constant(one.arg), one.value) for one in node.keywords if one.arg is not None]
        if (
            not isinstance(node.func, ast.Name)
            or node.func.id != "dict"
            or node.args
            or len(named) < len(node.keywords)
        ):
            return node
        return ast.Dict(keys=[key for key, _ in named], values=[value for _, value in named])


def _replaced(level: object, steps: list[int | str], value: object, where: str) -> object:
    """``level`` with ``value`` at the end of ``steps``; tuples are rebuilt, dicts and lists changed in place."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if level is None:
        level = {}
    if isinstance(level, dict):
        level[step] = _replaced(level.get(step), rest, value, where)
        return level
    if isinstance(level, (list, tuple)):
        if not isinstance(step, int) or not 0 <= step < len(level):
            raise RecipeError(where, f"expected a position from 0 to {len(level) - 1}, found '{step}'", "")
        entries = list(level)
        entries[step] = _replaced(entries[step], rest, value, where)
        return entries if isinstance(level, list) else tuple(entries)
    raise RecipeError(where, f"'{step}' leads into {shown_value(level)}, which has no entries", "shorten the key path")
