"""Finding recipes: a path first, then the recipes that ship with edgeexport."""

from __future__ import annotations

import ast
from pathlib import Path

from edgeexport.config.paths import absolute_path
from edgeexport.errors import RecipeError, near_name

__all__ = ["docstring_line", "recipe_path", "shipped_recipes", "shipped_recipes_folder"]

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_recipes_folder() -> Path:
    """The folder of the shipped recipes: inside an installed package, else beside the package of a source checkout.

    Raises:
        RecipeError: There is none: the installation is incomplete.
    """
    candidates = (_PACKAGE / "recipes", _PACKAGE.parent / "recipes")
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise RecipeError(str(candidates[0]), "the shipped recipes are missing", "install edgeexport again")


def shipped_recipes() -> list[tuple[str, str]]:
    """File name and one-line description of every shipped recipe, by name. Nothing is executed."""
    files = sorted(shipped_recipes_folder().glob("*.py"))
    return [(file.name, docstring_line(ast.parse(file.read_text(encoding="utf-8")))) for file in files]


def docstring_line(tree: ast.Module) -> str:
    """The first line of a module's docstring, or an empty string."""
    text = (ast.get_docstring(tree) or "").strip()
    return text.splitlines()[0] if text else ""


def recipe_path(name: str | Path) -> Path:
    """The absolute path of a recipe given as a path or as a shipped recipe's name, with or without ``.py``.

    Raises:
        RecipeError: There is no such recipe; names the nearest shipped one. Or it is not a Python file.
    """
    given = Path(name)
    spellings = (given, given.with_name(given.name + ".py")) if given.name else ()
    for path in spellings:
        if path.is_file():
            if path.suffix != ".py":
                raise RecipeError(str(name), f"a recipe is a Python file (.py), found '{path.suffix}'", "")
            return absolute_path(path)
    if given.name == str(given):
        for spelling in spellings:
            shipped = shipped_recipes_folder() / spelling
            if shipped.suffix == ".py" and shipped.is_file():
                return shipped
    known = [file for file, _ in shipped_recipes()]
    wanted = given.name if given.suffix == ".py" else f"{given.name}.py"
    near = (
        near_name(wanted, known) if given.suffix in ("", ".py") else None
    )  # a file of another kind is no slip of a recipe
    meant = f"did you mean '{near}'? " if near else ""
    raise RecipeError(
        str(name) or "''",
        "no such recipe: neither a file nor a shipped recipe",
        f"{meant}`edgeexport recipes` lists the shipped ones, and timm:NAME is a model of timm without a recipe",
    )
