"""The images that a report shows: a model trained on something else than photographs names its own, or none."""

from __future__ import annotations

from pathlib import Path

from edgeexport.config.paths import absolute_path, shown_path
from edgeexport.config.place import Place

__all__ = ["pictures_from_config"]


def pictures_from_config(value: object, place: Place, folder: Path) -> tuple[Path, ...] | None:
    """``pictures`` of a recipe: paths relative to ``folder``, absolute; empty for none. None stays: shipped photographs.

    Raises:
        RecipeError: No list of paths, or one of a file that is not there.
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise place.error(value, "expected a list of image files", "write [] for a report without pictures")
    paths = tuple(absolute_path(folder / item) for item in value)
    for item, path in zip(value, paths, strict=True):
        if not path.is_file():
            raise place.error(item, f"no such file: {shown_path(path)}", "give a path relative to the recipe")
    return paths
