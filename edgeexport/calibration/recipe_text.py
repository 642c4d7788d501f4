"""The text of a recipe that extends another one with constants that a calibration proposes.

What the command line changed beside the constants (``--cfg-options``, ``--checkpoint``) is written out as well, for the
constants hold for the model that they were found on. What it changed is told from the recipe's data before and after,
not from the option strings: mmengine merges a child's dicts into its base's, while an option replaces, and a list can
only be given whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from pathlib import Path

from edgeexport.config.inheritance import recipe_file
from edgeexport.config.options import config_with_options
from edgeexport.config.paths import absolute_path
from edgeexport.config.reading import config_from_file
from edgeexport.hosts import FILES
from edgeexport.recipe.named import config_of_name
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import RECIPE_KEYS

__all__ = ["changes_for_child", "python_text", "recipe_text", "relative_path", "text_of_config"]

_DELETE = "_delete_"  # mmengine: this dict replaces the base's
_LINE = 110


def recipe_text(
    recipe: Recipe, reduction: Mapping[str, object], folder: Path, description: str, cfg_options: Sequence[str] = ()
) -> str:
    """A recipe in ``folder`` whose base is ``recipe``'s file, with this ``reduction`` in place of the base's.

    One of a model's name has no base and says everything.

    Args:
        recipe: As loaded with ``cfg_options`` and the command line's checkpoint; its ``extra_outputs`` are those that the
            new reduction computes.
        reduction: The whole of it, as a recipe spells it; paths in it are relative to ``folder``.
        folder: Where the text will be written; need not exist.
        description: The docstring; its first line is what `edgeexport recipes` would show.
        cfg_options: What ``recipe`` was loaded with. Those about ``reduction`` are in ``reduction`` already.

    Raises:
        RecipeError: The recipe's file changed since it was loaded, and cannot be read any more.
    """
    if recipe.from_file:
        base = config_from_file(recipe_file(recipe.path), RECIPE_KEYS)
        changed = config_with_options(base, cfg_options)
        lines = [f"_base_ = {python_text(relative_path(recipe.path, folder))}", ""]
    else:
        subject = str(recipe.path) if recipe.path.suffix in FILES else recipe.path.name  # a model's file, or its name
        base, changed, lines = {}, config_of_name(subject, cfg_options), []
    own: dict[str, object] = {}
    if recipe.checkpoint is not None or base.get("checkpoint") is not None:
        # A path is relative to the recipe that is loaded, so the base's would lead elsewhere from here.
        own["checkpoint"] = None if recipe.checkpoint is None else relative_path(recipe.checkpoint, folder)
    if tuple(recipe.extra_outputs) != tuple(_listed(base.get("extra_outputs"))):
        own["extra_outputs"] = list(recipe.extra_outputs)
    elsewhere = {"checkpoint", "extra_outputs", "reduction"}
    own |= changes_for_child(_without(base, elsewhere), _without(changed, elsewhere))
    own["reduction"] = {_DELETE: True, **reduction} if recipe.from_file else dict(reduction)
    return text_of_config(lines, own, description)


def text_of_config(lines: Sequence[str], config: Mapping[str, object], description: str) -> str:
    """A recipe's text: docstring, further ``lines``, and every key of ``config``."""
    lines = [*lines, *(f"{key} = {python_text(value, len(key) + 3)}" for key, value in config.items())]
    quoted = description.strip().replace("\\", "\\\\").replace('"', "'")
    end = "\n" if "\n" in quoted else ""
    return "\n".join([f'"""{quoted}{end}"""', "", *lines, ""])


def relative_path(path: Path, folder: Path) -> str:
    """``path`` as a file in ``folder`` names it, with forward slashes."""
    return Path(os.path.relpath(absolute_path(path), absolute_path(folder))).as_posix()


def changes_for_child(base: Mapping[str, object], changed: Mapping[str, object]) -> dict[str, object]:
    """What a child recipe has to say so that mmengine, merging it into ``base``, gives ``changed``.

    Only what differs is said. A dict that lost an entry, or that stands where the base has none, says ``_delete_``;
    lists are given whole. Keys that ``changed`` lacks at the top are none that a child could take away, and are left out.
    """
    changes: dict[str, object] = {}
    for key, value in changed.items():
        if key in base and _same(base[key], value):
            continue
        changes[key] = _change(base[key], value) if key in base else value
    return changes


def python_text(value: object, column: int = 0, indent: int = 0) -> str:
    """``value`` as Python: on one line where it fits beside what precedes it, else one entry a line.

    Args:
        value: Dicts, lists, tuples, strings, numbers, True, False, None.
        column: Characters in front of it on its line.
        indent: Of that line.
    """
    flat = _flat(value)
    if column + len(flat) <= _LINE or not isinstance(value, (dict, list, tuple)) or not value:
        return flat
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        named = _all_names(value)
        opening, closing = ("dict(", ")") if named else ("{", "}")
        heads = [f"{key}=" if named else f"{_flat(key)}: " for key in value]
        entries = list(value.values())
    else:
        opening, closing = ("[", "]") if isinstance(value, list) else ("(", ")")
        heads, entries = [""] * len(value), list(value)
    lines = [
        f"{inner}{head}{python_text(entry, len(inner) + len(head), indent + 4)},"
        for head, entry in zip(heads, entries, strict=True)
    ]
    return "\n".join([opening, *lines, " " * indent + closing])


def _change(old: object, new: object) -> object:
    if not isinstance(new, dict):
        return new
    if not isinstance(old, dict) or any(key not in new for key in old):
        return {_DELETE: True, **new}
    return changes_for_child(old, new)


def _same(first: object, second: object) -> bool:
    """Equality that tells 1 from True and 1.0, and a list from a tuple, as recipes do."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(_same, first, second))
    return first == second


def _without(config: Mapping[str, object], keys: set[str]) -> dict[str, object]:
    return {key: value for key, value in config.items() if key not in keys}


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def _flat(value: object) -> str:
    if isinstance(value, dict):
        if _all_names(value):
            return f"dict({', '.join(f'{key}={_flat(entry)}' for key, entry in value.items())})"
        return "{" + ", ".join(f"{_flat(key)}: {_flat(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flat, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_flat, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, str) and value.isprintable() and not {'"', "\\"} & set(value):
        return f'"{value}"'
    return repr(value)


def _all_names(value: Mapping[object, object]) -> bool:
    return bool(value) and all(isinstance(key, str) and key.isidentifier() and not iskeyword(key) for key in value)
