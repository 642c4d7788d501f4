"""A recipe file made of a model's name: what `edgeexport recipes timm:NAME` prints or writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexport.bundle.files import disk_errors, write_file
from edgeexport.calibration.recipe_text import relative_path, text_of_config
from edgeexport.errors import UsageError
from edgeexport.hosts import NAMED
from edgeexport.recipe import load_recipe
from edgeexport.recipe.named import config_of_name, family_of_name

__all__ = ["WrittenRecipe", "write_recipe"]


@dataclass(frozen=True)
class WrittenRecipe:
    """A recipe's ``text``, the ``file`` that it was written to (None: none), and ``warnings`` about it."""

    text: str
    file: Path | None
    warnings: tuple[str, ...]


def write_recipe(
    subject: str, file: Path | None = None, cfg_options: Sequence[str] = (), checkpoint: Path | None = None
) -> WrittenRecipe:
    """Makes the recipe of a model's name, checks it, and writes it.

    Args:
        subject: Such as ``timm:vit_small_patch14_dinov2``.
        file: A new Python file; None writes none.
        cfg_options: ``key=value`` strings, whose results stand in the text.
        checkpoint: Relative to the current folder; in the text relative to the file's.

    Raises:
        UsageError: ``subject`` is no such name, or the file exists or cannot be written.
        RecipeError, CheckpointError: See `load_recipe`.
    """
    if family_of_name(subject) is None:
        listed = " or ".join(f"{family}:NAME" for family in NAMED)
        remedy = "a recipe file extends another one with _base_"
        raise UsageError(subject, f"is no model's name, expected {listed}", remedy)
    if file is not None and (file.suffix != ".py" or file.exists()):
        problem = "exists already" if file.exists() else "is no name of a recipe, which is a Python file (.py)"
        raise UsageError(f"--write {file}", problem, "give another name")
    recipe = load_recipe(subject, cfg_options, checkpoint)
    config = config_of_name(subject, cfg_options)
    if checkpoint is not None:
        config["checkpoint"] = relative_path(checkpoint, Path() if file is None else file.parent)
    text = text_of_config([], config, f"{recipe.description}.")
    if file is not None:
        with disk_errors(file, "give another name", kind=UsageError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, text)
    return WrittenRecipe(text, file, recipe.warnings)
