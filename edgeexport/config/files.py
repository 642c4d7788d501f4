"""Files that a recipe names: relative to the recipe, and present."""

from __future__ import annotations

from pathlib import Path

from edgeexport.config.paths import absolute_path, shown_path
from edgeexport.config.place import Place
from edgeexport.config.values import string
from edgeexport.errors import CheckpointError

__all__ = ["file_from_config", "file_from_option"]


def file_from_config(value: object, place: Place, folder: Path) -> Path | None:
    """The absolute path of a file named relative to ``folder``, the folder of the recipe that is loaded; None stays.

    Raises:
        RecipeError: The value is no string.
        CheckpointError: There is no such file.
    """
    if value is None:
        return None
    path = absolute_path(folder / string(value, place))
    if not path.is_file():
        raise CheckpointError(
            f"{place} = {value!r}",
            f"no such file: {shown_path(path)}",
            "give a path relative to the recipe, or None for seeded weights",
        )
    return path


def file_from_option(value: Path) -> Path:
    """The absolute path of a file named on the command line, relative to the current folder.

    Raises:
        CheckpointError: There is no such file.
    """
    path = absolute_path(value)
    if not path.is_file():
        raise CheckpointError(f"--checkpoint {value}", "no such file", "give a path relative to the current folder")
    return path
