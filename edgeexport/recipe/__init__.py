"""Recipes: what to build, read from mmengine Python configs into frozen dataclasses.

Importing this package imports neither torch nor mmengine; loading a recipe does.
"""

from __future__ import annotations

from edgeexport.config.lookup import recipe_path, shipped_recipes, shipped_recipes_folder
from edgeexport.recipe.loading import load_recipe

__all__ = ["load_recipe", "recipe_path", "shipped_recipes", "shipped_recipes_folder"]
