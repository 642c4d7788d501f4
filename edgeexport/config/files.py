"""Files that a recipe names: relative to the recipe, and present."""

from __future__ import annotations

from pathlib import Path

from edgeexport.config.paths import absolute_path, shown_path
from edgeexport.config.place import Place
from edgeexport.config.shards import INDEX_SUFFIX
from edgeexport.config.values import string
from edgeexport.errors import CheckpointError

__all__ = ["file_from_config", "file_from_option", "weights_file"]

# As Hugging Face transformers saves a model, large ones in several files with an index.
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
_IN_SEVERAL = tuple(name + INDEX_SUFFIX for name in _IN_FOLDERS)


def weights_file(path: Path, where: str) -> Path:
    """The file itself; of a folder of Hugging Face transformers, its weights, or the index of several files.

    ``where`` is named in messages.

    Raises:
        CheckpointError: A folder that holds none.
    """
    if not path.is_dir():
        return path
    for name in (*_IN_FOLDERS, *_IN_SEVERAL):
        if (path / name).is_file():
            return path / name
    problem = f"is a folder without {' or '.join(_IN_FOLDERS)}"
    raise CheckpointError(where, problem, "give a .pth or .safetensors file, or a folder with one of these")


def file_from_config(value: object, place: Place, folder: Path) -> Path | None:
    """The absolute path of a file named relative to ``folder``, the folder of the recipe that is loaded; None stays.

    Raises:
        RecipeError: The value is no string.
        CheckpointError: There is no such file.
    """
    if value is None:
        return None
    path = weights_file(absolute_path(folder / string(value, place)), f"{place} = {value!r}")
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
    path = weights_file(absolute_path(value), f"--checkpoint {value}")
    if not path.is_file():
        raise CheckpointError(f"--checkpoint {value}", "no such file", "give a path relative to the current folder")
    return path
