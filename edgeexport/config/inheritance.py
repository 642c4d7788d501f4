"""The ``_base_`` chain of a recipe, read as syntax only: nothing is executed here.

mmengine does the reading and merging (`edgeexport.config.reading`). This module looks at the files beforehand, for two
reasons: a syntax error or a missing base gets a message with file and line, and a child's ``reduction.dtop.prune``
replaces its parent's, while mmengine merges the two dicts, after which nobody can tell whose entries are whose.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeexport.config.lookup import shipped_recipes_folder
from edgeexport.config.paths import absolute_path, shown_path
from edgeexport.errors import RecipeError

__all__ = ["RecipeFile", "prune_keys_in_force", "recipe_file"]

_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class RecipeFile:
    """One file of a chain: ``path`` absolute, ``tree`` its syntax, ``bases`` in the order of ``_base_``."""

    path: Path
    tree: ast.Module
    bases: tuple[RecipeFile, ...]

    def chain(self) -> Iterator[RecipeFile]:
        """This file, then its bases, depth first."""
        yield self
        for base in self.bases:
            yield from base.chain()


def recipe_file(path: Path, _above: tuple[Path, ...] = ()) -> RecipeFile:
    """Reads a recipe and its bases.

    Raises:
        RecipeError: A file is unreadable or has a syntax error, a base is missing or inherits from itself, or
            ``_base_`` is not written out.
    """
    tree = _syntax_tree(path)
    bases = []
    for statement in tree.body:
        if isinstance(statement, ast.With) and "read_base" in ast.dump(statement.items[0]):
            raise RecipeError(
                _line(path, statement), "`with read_base()` is not supported", "write _base_ = 'other.py'"
            )
    assignment = _assignment(tree, "_base_")
    for name in _base_names(path, assignment) if assignment is not None else ():
        base = absolute_path(path.parent / name)
        where = _line(path, assignment)
        if base in (*_above, path):
            raise RecipeError(where, f"the base '{name}' inherits from this recipe", "remove one of the two _base_")
        if not base.is_file():
            raise RecipeError(where, f"the base '{name}' is missing: no file {shown_path(base)}", _base_remedy(name))
        bases.append(recipe_file(base, (*_above, path)))
    return RecipeFile(path, tree, tuple(bases))


def prune_keys_in_force(file: RecipeFile) -> frozenset[object] | None:
    """The keys of ``reduction.dtop.prune`` as the most derived file that gives it wrote them.

    Returns:
        The keys to keep from mmengine's merged dict, or None where the whole of it is to be kept (no more than one file
        of the chain gives any).

    Raises:
        RecipeError: A file and its base both seem to give ``prune``, and the file does not write its own plainly.
    """
    keys = _stated_prune_keys(file.tree)
    if isinstance(keys, frozenset):
        return keys
    inherited = [base for base in file.bases if any(_mentions_prune(link.tree) for link in base.chain())]
    if not inherited:
        return None
    if keys is None:
        return prune_keys_in_force(inherited[0])
    raise RecipeError(
        f"{shown_path(file.path)}: reduction",
        f"cannot tell its own dtop.prune from the one in {shown_path(inherited[0].path)}, which it replaces",
        "write it in one statement: reduction = dict(dtop=dict(prune={8: 464}))",
    )


class _NotPlain:
    """A value that syntax alone does not reveal."""


_NOT_PLAIN = _NotPlain()


def _stated_prune_keys(tree: ast.Module) -> frozenset[object] | _NotPlain | None:
    """Keys of ``prune`` in a file's only assignment of ``reduction``; None where it gives none."""
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "reduction"]
    if not uses:
        return None
    assignment = _assignment(tree, "reduction")
    if assignment is None or len(uses) > 1:
        return _NOT_PLAIN
    value = assignment.value
    for key in ("dtop", "prune"):
        entries = _entries(value)
        if entries is None:
            return _NOT_PLAIN
        if key not in entries:
            return None
        value = entries[key]
    entries = _entries(value)
    return _NOT_PLAIN if entries is None else frozenset(entries)


def _mentions_prune(tree: ast.Module) -> bool:
    return _stated_prune_keys(tree) is not None


def _entries(node: ast.expr) -> dict[object, ast.expr] | None:
    """Keys and value nodes of ``{...}`` or ``dict(...)`` with constant keys, else None."""
    if isinstance(node, ast.Constant) and node.value is None:
        return {}
    if isinstance(node, ast.Dict):
        constants = [key for key in node.keys if isinstance(key, ast.Constant)]
        if len(constants) < len(node.keys):
            return None
        return {key.value: value for key, value in zip(constants, node.values, strict=True)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        if any(keyword.arg is None for keyword in node.keywords):
            return None
        return {keyword.arg: keyword.value for keyword in node.keywords}
    return None


def _syntax_tree(path: Path) -> ast.Module:
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith(_BYTE_ORDER_MARK):  # mmengine, which reads the file as well, takes it for Python
            problem = "begins with a byte-order mark, as some editors on Windows write"
            raise RecipeError(shown_path(path), problem, "save it as UTF-8 without one (without BOM)")
        return ast.parse(text, str(path))
    except SyntaxError as error:
        where = f"{shown_path(path)}:{error.lineno}" if error.lineno else shown_path(path)
        raise RecipeError(where, f"syntax error: {error.msg}", "correct the Python of the recipe") from None
    except (
        OSError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # unreadable; not UTF-8, null bytes, or too deep
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RecipeError(shown_path(path), f"cannot be read: {reason}", "give a Python file in UTF-8") from None


def _assignment(tree: ast.Module, name: str) -> ast.Assign | None:
    """The first plain top-level ``name = value``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return node
    return None


def _base_names(path: Path, assignment: ast.Assign) -> list[str]:
    try:
        value = ast.literal_eval(assignment.value)
    except (ValueError, TypeError, RecursionError):  # no literal, or one such as {[]: 1}
        value = None
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str) or "::" in name or not name.endswith(".py"):
            written = ast.unparse(assignment)
            raise RecipeError(
                _line(path, assignment),
                f"expected the path of a Python file, or a list of them, found `{written}`",
                "write _base_ = 'other.py', relative to this recipe",
            )
    return names


def _base_remedy(name: str) -> str:
    shipped = shipped_recipes_folder() / name
    if Path(name).name == name and shipped.is_file():
        return f"it is a shipped recipe: write _base_ = '{shipped}' (`edgeexport recipes` prints the folder)"
    return "give the path relative to this recipe; `edgeexport recipes` prints the folder of the shipped ones"


def _line(path: Path, node: ast.stmt | None) -> str:
    return f"{shown_path(path)}:{node.lineno}" if node is not None else shown_path(path)
