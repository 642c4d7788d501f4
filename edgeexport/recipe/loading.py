"""Loading a recipe: find, read, merge, set options, validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeexport.config.inheritance import recipe_file
from edgeexport.config.lookup import docstring_line, recipe_path
from edgeexport.config.options import config_with_options
from edgeexport.config.paths import absolute_path, shown_path
from edgeexport.config.place import Place
from edgeexport.config.published import is_published, recipe_of_published
from edgeexport.config.reading import config_from_file
from edgeexport.errors import plain_text
from edgeexport.recipe.named import config_of_name, family_of_name, name_of_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import RECIPE_KEYS, recipe_from_config

__all__ = ["load_recipe"]


def load_recipe(name_or_path: str | Path, cfg_options: Sequence[str] = (), checkpoint: Path | None = None) -> Recipe:
    """Loads and validates a recipe, an mmengine Python config, mmsegmentation's own among them; or makes one of a model's name.

    Args:
        name_or_path: A path, or the name of a shipped recipe, with or without ``.py``; or a model's name behind its family's,
            such as ``timm:deit_small_patch16_224``: fed as timm feeds it, without reduction.
        cfg_options: ``key=value`` strings, applied in order after ``_base_`` is merged; see `config_with_options`.
        checkpoint: Overrides the recipe's ``checkpoint``; relative to the current folder.

    Raises:
        RecipeError: It cannot be found or read, or asks for something unknown or impossible.
        CheckpointError: A file that it names is missing.
    """
    if family_of_name(name_or_path) is not None:
        subject = str(name_or_path)
        config = config_of_name(subject, cfg_options)
        named = recipe_from_config(config, absolute_path(Path(subject)), f"{subject} as it is fed there", checkpoint)
        return replace(named, name=plain_text(name_of_recipe(subject, config)), from_file=False)
    file = recipe_file(recipe_path(name_or_path))
    config, description = config_from_file(file, RECIPE_KEYS), docstring_line(file.tree)
    if not is_published(config):
        return recipe_from_config(config_with_options(config, cfg_options), file.path, description, checkpoint)
    published = recipe_of_published(config, Place(shown_path(file.path)), RECIPE_KEYS, cfg_options)
    recipe = recipe_from_config(published.config, file.path, description, checkpoint)
    return replace(recipe, warnings=(*published.notes, *recipe.warnings))
