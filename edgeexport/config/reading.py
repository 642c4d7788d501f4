"""Reading a recipe into plain Python data: mmengine's `Config` executes the files and merges ``_base_``."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Collection

from edgeexport.config.inheritance import RecipeFile, prune_keys_in_force
from edgeexport.config.paths import shown_path
from edgeexport.errors import RecipeError

__all__ = ["INSTALL", "config_from_file", "strip_delete_marks"]

INSTALL = "pip install 'edgeexport[export]'"


def config_from_file(file: RecipeFile, keys: Collection[str]) -> dict[str, object]:
    """Executes a recipe and its bases, and returns the merged configuration as plain dicts, lists, tuples and values.

    Dicts merge as in mmengine (``_delete_=True`` replaces instead), except ``reduction.dtop.prune``, where a child's
    replaces its parent's: its keys name blocks, and a stage that the child does not ask for must not survive in it.
    Names that start with an underscore, and imported or defined ones, are the recipe's own and left out.

    Args:
        file: The recipe with its bases.
        keys: Names that are part of the recipe even where it imports them.

    Raises:
        RecipeError: The recipe raised an exception, or its dicts cannot be merged; or mmengine is not installed.
    """
    # Here and not at the top, because it imports torch, and reading a schema must not.
    try:
        from mmengine.config import Config
    except ModuleNotFoundError as error:
        raise RecipeError(shown_path(file.path), f"reading a recipe needs mmengine ({error})", INSTALL) from None
    try:
        # lazy_import=False: `import math` must not turn the file into mmengine's other configuration syntax.
        merged = Config.fromfile(
            str(file.path), lazy_import=False, import_custom_modules=False, format_python_code=False
        ).to_dict()
    except (Exception, SystemExit) as error:  # any statement of the recipe may have raised it
        raise _execution_error(file, error) from None
    own = _names_of_code(file).difference(keys)
    config = {key: strip_delete_marks(value) for key, value in merged.items() if key[0] != "_" and key not in own}
    _keep_own_prune(config, file)
    return config


def strip_delete_marks(value: object) -> object:
    """Removes ``_delete_`` entries that had nothing to delete, which mmengine leaves in place."""
    if isinstance(value, dict):
        return {key: strip_delete_marks(entry) for key, entry in value.items() if key != "_delete_"}
    if isinstance(value, list):
        return [strip_delete_marks(entry) for entry in value]
    if type(value) is tuple:
        return tuple(strip_delete_marks(entry) for entry in value)
    return value


def _keep_own_prune(config: dict[str, object], file: RecipeFile) -> None:
    """Takes out of the merged ``prune`` what only a parent gave."""
    level: object = config
    for key in ("reduction", "dtop"):
        level = level.get(key) if isinstance(level, dict) else None
    if not isinstance(level, dict) or not isinstance(level.get("prune"), dict):
        return
    keys = prune_keys_in_force(file)
    if keys is not None:
        level["prune"] = {block: count for block, count in level["prune"].items() if block in keys}


def _names_of_code(file: RecipeFile) -> set[str]:
    """Names that the chain's files bind by import, def or class: part of their code, not of the recipe."""
    names: set[str] = set()
    for link in file.chain():
        for node in ast.walk(link.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
    return names


def _execution_error(file: RecipeFile, error: BaseException) -> RecipeError:
    """The error of an executed recipe, at the innermost line of the chain's files that it passed through."""
    paths = {str(link.path): link.path for link in file.chain()}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in paths]
    where = f"{shown_path(paths[frames[-1].filename])}:{frames[-1].lineno}" if frames else shown_path(file.path)
    reason = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    return RecipeError(where, f"{type(error).__name__}: {reason}", "correct the recipe")
